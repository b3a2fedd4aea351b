"""The format as a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersor.errors import FormatError, SchemeError
from tersor.formats.contents import Contents, Description, beyond_linears
from tersor.formats.entry import Entry, check_entries, needed_tensor
from tersor.formats.format import Format
from tersor.formats.kinds.gptq.settings import V1, WIDTHS, label_of, scheme_of
from tersor.formats.kinds.gptq.zeros import true_zeros
from tersor.formats.linear import QuantizedLinear
from tersor.formats.reading import Reading
from tersor.formats.storage.kind import (
    as_unsigned,
    float16_scales,
    made_with_float16,
    of_code_type,
    unsigned_zeros,
    with_zeros,
)
from tersor.grids import (
    Granularity,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    pack,
    unpack,
)
from tersor.grids.packing import packed_columns


@dataclass(frozen=True)
class GptqFormat(Format):
    """See :class:`~tersor.formats.format.Format`.

    ``label``: which version is written, or said to be read.
    """

    label: str = V1

    name: ClassVar[str] = "gptq"
    suffixes: ClassVar[tuple[str, ...]] = ("qweight", "qzeros", "scales", "g_idx")

    def as_described(self, description: Mapping[str, Any]) -> "GptqFormat":
        """With the label of a checkpoint."""
        return GptqFormat(label_of(description))

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Integers of some widths, weights alone, whole words."""
        weights, (rows, columns) = scheme.weights, shape
        bits = weights.grid.bits
        if scheme.activations is not None:
            return "GPTQ has no quantized activations"
        if weights.grid.name != f"int{bits}" or bits not in WIDTHS:
            return f"GPTQ has no {weights.grid.name}; choose integers of 2, 3, 4 or 8 bits"
        if weights.granularity is Granularity.TENSOR or weights.scale_format.levels is not None:
            return "GPTQ has a float scale for each channel or group, and no others; choose these"
        if columns * bits % 32 or rows * bits % 32:
            return f"codes of {rows} × {columns} of {bits} bits do not fill whole words"
        if not weights.grid.symmetric and self.label == V1:
            return "GPTQ's first version stores zero points less 1; choose gptq-v2"
        return None

    def made(self, scheme: Scheme) -> Scheme:
        """With float16 scales whatever the model's type is: codes are made for them."""
        return made_with_float16(scheme)

    def scale_type(self, dtype: torch.dtype) -> torch.dtype:
        """float16."""
        return torch.float16

    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        """Codes packed along the input, zero points along the output."""
        (rows, columns), bits = shape, scheme.weights.grid.bits
        groups = scheme.weights.groups(columns)
        may_widen = scheme.weights.scale_format is not ScaleFormat.FLOAT16
        return {
            "qweight": Entry(torch.int32, (columns * bits // 32, rows)),
            "qzeros": Entry(torch.int32, (groups, packed_columns(rows, bits))),
            "scales": Entry(torch.float16, (groups, rows), model_type=may_widen, parameter=True),
            "g_idx": Entry(torch.int32, (columns,)),
        }

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """Unsigned codes and zero points."""
        weight, bits = linear.weight, linear.weight.grid.bits
        zeros = unsigned_zeros(weight).to(torch.int16)
        if self.label == V1:
            zeros -= 1
            if int(zeros.min()) < 0:
                raise SchemeError("GPTQ's first version has no zero points of 0; choose gptq-v2")
        groups = torch.arange(weight.shape[1]) // (weight.scheme.group_size or weight.shape[1])
        return {
            "qweight": pack(as_unsigned(weight.codes, bits), bits).T.contiguous(),
            "qzeros": pack(zeros.to(torch.uint8).T.contiguous(), bits),
            "scales": float16_scales(weight).T.contiguous(),
            "g_idx": groups.to(torch.int32),
        }

    def read_back(self, linear: QuantizedLinear) -> QuantizedLinear:
        """With zero points, and unsigned codes."""
        return with_zeros(linear)

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """Raises :class:`FormatError`."""
        words, bits = needed_tensor(tensors, "qweight", module), scheme.weights.grid.bits
        if words.ndim != 2 or words.numel() == 0 or words.shape[0] * 32 % bits:
            raise FormatError(f"{module}.qweight is {tuple(words.shape)}, no words of {bits} bits")
        return words.shape[1], words.shape[0] * 32 // bits

    def check(self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> tuple[int, int]:
        """See :meth:`Format.check`; ``g_idx`` may be missing."""
        shape = self.shape_of(tensors, scheme, module)
        entries = self.layout(scheme, shape, torch.float16)
        if "g_idx" not in tensors:
            del entries["g_idx"]
        check_entries(tensors, entries, scheme, module)
        if "g_idx" in tensors:
            _check_groups(tensors["g_idx"], scheme.weights.group_size or shape[1], module)
        self._zeros(tensors, scheme, shape, module)
        return shape

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """Zero points as they are meant."""
        (_, columns), grid = shape, scheme.weights.grid
        codes = unpack(tensors["qweight"].T.contiguous(), grid.bits, columns)
        scale = StoredScale(tensors["scales"].T.contiguous(), ScaleFormat.FLOAT)
        zeros = self._zeros(tensors, scheme, shape, "a linear")
        codes, zeros = (of_code_type(one, grid.code_dtype, grid.bits) for one in (codes, zeros))
        return QuantizedLinear(QuantizedTensor(codes, scale, zeros, scheme.weights), scheme)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """The keys that every reader has."""
        (scheme,) = contents.groups()
        return {
            "bits": scheme.weights.grid.bits,
            "group_size": scheme.weights.group_size or -1,
            "desc_act": False,
            "sym": scheme.weights.grid.symmetric,
            "checkpoint_format": self.label,
            "true_sequential": True,
            "damp_percent": 0.01,
            "lm_head": any(one.module.endswith("lm_head") for one in contents.matrices),
        }

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """One scheme for all."""
        return Description(dict.fromkeys(modules, scheme_of(description)))

    def obstacles(self, contents: Contents) -> list[str]:
        """Embeddings, transposed linears, and several schemes are for other formats too."""
        return super().obstacles(contents) + beyond_linears(contents, "GPTQ")

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """Those that read GPTQ."""
        known = tuple(map(Reading, ("tersor", "transformers", "vLLM on GPUs", "SGLang")))
        return (*known, _in_openvino(contents))

    def _zeros(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int], module: str
    ) -> Tensor:
        """True zero points ``(out, groups)``, uint8. Raises :class:`FormatError`."""
        bits = scheme.weights.grid.bits
        stored = unpack(tensors["qzeros"], bits, shape[0])
        return true_zeros(stored, bits, self.label, module).T.contiguous()


def _in_openvino(contents: Contents) -> Reading:
    """Its frontend for torch: https://github.com/openvinotoolkit/openvino, ``gptq.py``."""
    if all(one.scheme.weights.grid.bits == 4 for one in contents.matrices):
        return Reading("OpenVINO", condition="through optimum-intel")
    return Reading("OpenVINO", "its GPTQ has 4 bits alone", "use --bits 4")


def _check_groups(g_idx: Tensor, size: int, module: str) -> None:
    """Columns lie in the order of their groups. Raises :class:`FormatError`."""
    usual = torch.arange(len(g_idx)) // size
    if torch.equal(g_idx.long(), usual):
        return
    if torch.equal(g_idx.long().sort().values, usual):
        raise FormatError(
            f"{module}.g_idx has columns in another order than groups (desc_act), which no kernel "
            "runs; choose a checkpoint without desc_act"
        )
    raise FormatError(f"{module}.g_idx is no permutation of groups of {size} columns")
