"""The format as a value.

Zero points are stored times their scales, which a 16-bit type does not hold exactly: float32 is
what linears with zero points have. Symmetric ones have the scale times a power of two.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from tersor.errors import FormatError
from tersor.formats.contents import Contents, Description
from tersor.formats.entry import Entry, shape_of_codes
from tersor.formats.format import QUANTIZATION, Format
from tersor.formats.kinds.mlx.linear import as_affine
from tersor.formats.kinds.mlx.settings import KEY, SIZES, WIDTHS, schemes_of, written
from tersor.formats.linear import QuantizedLinear
from tersor.formats.reading import ENGINES, Reading
from tersor.grids import (
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    pack,
    unpack,
)

# mlx-lm stacks what it loads of experts; of most families it does so with plain weights alone.
_STACKED_BY_MLX = "block_sparse_moe.experts."


class MlxFormat(Format):
    """See :class:`~tersor.formats.format.Format`."""

    name = "mlx"
    suffixes = ("weight", "scales", "biases")

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Integers in groups of 32, 64 or 128, weights alone."""
        weights = scheme.weights
        bits = weights.grid.bits
        if scheme.activations is not None:
            return "MLX has no quantized activations; choose w4, say"
        known = weights.grid.name in (f"int{bits}", f"affine{bits}") and bits in WIDTHS
        if not known or weights.scale_format not in (ScaleFormat.FLOAT, ScaleFormat.FLOAT16):
            return f"MLX has no {weights.grid.name}; choose integers of 2, 3, 4, 5, 6 or 8 bits"
        if weights.group_size not in SIZES:
            return "MLX has groups of 32, 64 and 128 alone; use --group-size 64"
        if weights.ragged(shape[1]):
            return f"{shape[1]} input columns are no multiple of group size {weights.group_size}"
        return None

    def uncertain(self, scheme: Scheme) -> str | None:
        """Minima of float32, which are not found for 16 bits."""
        weights = scheme.weights
        if weights.grid.has_minima and weights.scale_format is ScaleFormat.FLOAT:
            return "MLX has minima of 16 bits; add scale: float16 to the weights of the recipe"
        return None

    def obstacles(self, contents: Contents) -> list[str]:
        """Transposed linears, and experts that tersor alone names, too."""
        found = super().obstacles(contents)
        for one in contents.matrices:
            if one.transposed:
                found.append(f"{one.module}: MLX has no transposed (Conv1D) linears")
            elif ".experts." in one.module and _STACKED_BY_MLX not in one.module:
                found.append(
                    f"{one.module}: mlx-lm stacks quantized experts of Mixtral alone; choose "
                    "another format"
                )
        return found

    def scale_type(self, dtype: torch.dtype) -> torch.dtype:
        """16 bits, whose products with zero points float32 holds; of float32 models bfloat16."""
        return torch.bfloat16 if dtype is torch.float32 else dtype

    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        """Codes packed along the input; scales and biases ``(out, groups)``."""
        (rows, columns), weights = shape, scheme.weights
        if weights.scale_format is ScaleFormat.FLOAT16:
            dtype = torch.float16
        found = dtype if _is_narrow(scheme) else torch.float32
        parameter = Entry(found, (rows, weights.groups(columns)), model_type=True, parameter=True)
        words = columns * weights.grid.bits // 32
        return {
            "weight": Entry(torch.uint32, (rows, words)),
            "scales": parameter,
            "biases": parameter,
        }

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """Raises :class:`~tersor.errors.SchemeError`: see :func:`as_affine`."""
        weight = as_affine(linear).weight
        assert weight.zero_point is not None
        scales = weight.scale.data
        return {
            "weight": pack(weight.codes, weight.grid.bits).view(torch.uint32),
            "scales": scales.contiguous(),
            "biases": weight.zero_point.to(scales.dtype).contiguous(),
        }

    def read_back(self, linear: QuantizedLinear) -> QuantizedLinear:
        """With minima."""
        return as_affine(linear)

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """Raises :class:`FormatError`."""
        rows, words = shape_of_codes(tensors, "weight", module)
        size, bits = scheme.weights.group_size or 1, scheme.weights.grid.bits
        if words * 32 % (bits * size):
            raise FormatError(
                f"{module}.weight is {rows} × {words} words, no groups of {size} codes of {bits} "
                "bits; bits and group_size in config.json are another model's, or it is damaged"
            )
        return rows, words * 32 // bits

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """Inverse of :meth:`encode`."""
        words = tensors["weight"].view(torch.int32)
        codes = unpack(words, scheme.weights.grid.bits, shape[1])
        scale = StoredScale(tensors["scales"], ScaleFormat.FLOAT)
        minima = tensors["biases"].float()
        return QuantizedLinear(QuantizedTensor(codes, scale, minima, scheme.weights), scheme)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """As mlx-lm writes it."""
        return written(contents.groups())

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """Raises :class:`FormatError`."""
        return Description(schemes_of(description, modules))

    def config(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """The description twice, and no name of a method: mlx-lm has none."""
        whole = super().config(contents, config)
        described = self.description(contents, config)
        return {**whole, KEY: described, QUANTIZATION: described}

    def remarks(self, contents: Contents) -> tuple[str, ...]:
        """What zero points cost."""
        if all(_is_narrow(one.scheme) for one in contents.matrices):
            return ()
        return (
            "scales and biases are float32: MLX has zero points times scales, which 16 bits do not "
            "hold exactly; symmetric codes, or grid affine with scale: float16, take 16",
        )

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """mlx-lm."""
        others = ("transformers", *ENGINES)
        reason, instead = "they do not read MLX's format", "--format compressed-tensors"
        return (
            Reading("tersor"),
            Reading("mlx-lm"),
            *(Reading(engine, reason, instead) for engine in others),
        )


def _is_narrow(scheme: Scheme) -> bool:
    """Whether what is added to codes times scales has the type of the scales."""
    return scheme.weights.grid.symmetric or scheme.weights.grid.has_minima
