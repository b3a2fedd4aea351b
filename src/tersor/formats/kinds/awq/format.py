"""The format as a value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersor.errors import FormatError
from tersor.formats.contents import Contents, Description, beyond_linears
from tersor.formats.entry import Entry, needed_tensor
from tersor.formats.format import Format
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
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    Symmetry,
    TensorScheme,
    pack,
    unpack,
)

_BITS, _PER_WORD = 4, 8
# Which of eight neighbours each place of a word holds, from the lowest bits up.
_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class AwqFormat(Format):
    """See :class:`~tersor.formats.format.Format`."""

    name: ClassVar[str] = "awq"
    suffixes: ClassVar[tuple[str, ...]] = ("qweight", "qzeros", "scales")

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Integers of 4 bits in groups, weights alone, whole words."""
        weights, (rows, columns) = scheme.weights, shape
        if scheme.activations is not None:
            return "AWQ has no quantized activations"
        if weights.grid.name != "int4":
            return f"AWQ has no {weights.grid.name}; choose integers of 4 bits"
        if weights.granularity is not Granularity.GROUP or weights.ragged(columns):
            return "AWQ has a scale for each group, and no shorter group; choose another group size"
        if rows % _PER_WORD:
            return f"{rows} rows do not fill whole words of {_PER_WORD}"
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
        """Codes and zero points packed along the output."""
        rows, columns = shape
        groups = scheme.weights.groups(columns)
        may_widen = scheme.weights.scale_format is not ScaleFormat.FLOAT16
        return {
            "qweight": Entry(torch.int32, (columns, rows // _PER_WORD)),
            "qzeros": Entry(torch.int32, (groups, rows // _PER_WORD)),
            "scales": Entry(torch.float16, (groups, rows), model_type=may_widen, parameter=True),
        }

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """Unsigned codes and zero points."""
        weight = linear.weight
        return {
            "qweight": _packed(as_unsigned(weight.codes, _BITS)),
            "qzeros": _packed(unsigned_zeros(weight)),
            "scales": float16_scales(weight).T.contiguous(),
        }

    def read_back(self, linear: QuantizedLinear) -> QuantizedLinear:
        """With zero points, and unsigned codes."""
        return with_zeros(linear)

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """Raises :class:`FormatError`."""
        words = needed_tensor(tensors, "qweight", module)
        if words.ndim != 2 or words.numel() == 0:
            raise FormatError(f"{module}.qweight is {tuple(words.shape)}, not (in, out / 8)")
        return words.shape[1] * _PER_WORD, words.shape[0]

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """Inverse of :meth:`encode`."""
        dtype = scheme.weights.grid.code_dtype
        codes, zeros = (
            of_code_type(_unpacked(tensors[suffix]), dtype, _BITS)
            for suffix in ("qweight", "qzeros")
        )
        scale = StoredScale(tensors["scales"].T.contiguous(), ScaleFormat.FLOAT)
        return QuantizedLinear(QuantizedTensor(codes, scale, zeros, scheme.weights), scheme)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """The keys that every reader has."""
        (scheme,) = contents.groups()
        return {
            "bits": _BITS,
            "group_size": scheme.weights.group_size,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": sorted(contents.kept) or None,
        }

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """One scheme for all."""
        bits, size = description.get("bits"), description.get("group_size")
        version = description.get("version", "gemm")
        if bits != _BITS or not isinstance(size, int) or isinstance(size, bool) or size < 2:
            raise FormatError(
                f"quantization_config: {bits!r} bits in groups of {size!r}; AWQ has 4 bits in "
                "groups of 2 or more columns"
            )
        if str(version).lower() != "gemm":
            raise FormatError(f"quantization_config: version is {version!r}; tersor reads gemm")
        grid = IntegerGrid(_BITS, Symmetry.NONE, signed=False)
        scheme = Scheme(TensorScheme(grid, Granularity.GROUP, size))
        return Description(dict.fromkeys(modules, scheme))

    def obstacles(self, contents: Contents) -> list[str]:
        """Embeddings, transposed linears, and several schemes are for other formats too."""
        return super().obstacles(contents) + beyond_linears(contents, "AWQ")

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """Those that read AWQ."""
        return tuple(map(Reading, ("tersor", "transformers", "vLLM on GPUs", "SGLang")))


def _packed(codes: Tensor) -> Tensor:
    """Codes ``(out, n)`` → words ``(n, out / 8)``."""
    columns = codes.T.reshape(codes.shape[1], -1, _PER_WORD)[..., _PLACES]
    return pack(columns.reshape(codes.shape[1], -1).contiguous(), _BITS)


def _unpacked(words: Tensor) -> Tensor:
    """Inverse of :func:`_packed`."""
    codes = unpack(words, _BITS, words.shape[1] * _PER_WORD)
    places = codes.reshape(len(words), -1, _PER_WORD)
    columns = torch.empty_like(places)
    columns[..., _PLACES] = places
    return columns.reshape(len(words), -1).T.contiguous()
