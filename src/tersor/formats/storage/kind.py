"""What every way of storing codes can do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.errors import FormatError, SchemeError
from tersor.formats.entry import Entry, needed_tensor
from tersor.formats.linear import QuantizedLinear
from tersor.grids import (
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    Symmetry,
    TensorScheme,
)


@dataclass(frozen=True)
class Storage(ABC):
    """How codes and zero points of one linear become tensors, named by their suffixes.

    ``name``: what compressed-tensors calls it. Shapes are ``(out, in)``.
    """

    name: str

    @abstractmethod
    def holds(self, scheme: Scheme) -> bool:
        """Whether it can store a scheme, and compressed-tensors means it by this name."""

    @abstractmethod
    def codes(self, weights: TensorScheme, shape: tuple[int, int]) -> dict[str, Entry]:
        """The tensors that hold the codes."""

    @abstractmethod
    def encode(self, weight: QuantizedTensor) -> dict[str, Tensor]:
        """Codes → those tensors."""

    @abstractmethod
    def decode(
        self, tensors: Mapping[str, Tensor], weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """Inverse of :meth:`encode`: codes ``(out, in)`` of the grid's code type."""

    @abstractmethod
    def shape(self, tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
        """``(out, in)`` as some of the tensors tell it; reads no codes.

        ``module`` names the linear in errors. Raises :class:`FormatError`.
        """

    def zero_point(self, weights: TensorScheme, shape: tuple[int, int]) -> Entry:
        """The tensor ``weight_zero_point``: one int8 for each scale."""
        return Entry(torch.int8, scale_shape(weights, shape))

    def encode_zero_point(self, zero_point: Tensor, weights: TensorScheme) -> Tensor:
        """Zero points ``(rows, groups)`` of the code type → that tensor."""
        whole = weights.granularity is Granularity.TENSOR
        shape = (1,) if whole else tuple(zero_point.shape)
        return as_signed(zero_point, weights.grid.bits).reshape(shape)

    def decode_zero_point(
        self, stored: Tensor, weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """Inverse of :meth:`encode_zero_point`; ``shape``: ``(rows, groups)``."""
        grid = weights.grid
        return of_code_type(stored.reshape(shape), grid.code_dtype, grid.bits)


def scale_shape(weights: TensorScheme, shape: tuple[int, int]) -> tuple[int, ...]:
    """``(1,)`` per tensor, ``(out, 1)`` per channel, ``(out, groups)`` per group."""
    if weights.granularity is Granularity.TENSOR:
        return (1,)
    return (shape[0], weights.groups(shape[1]))


def as_signed(codes: Tensor, bits: int) -> Tensor:
    """Integer codes as two's complement, int8: unsigned ones less ``2^(b−1)``."""
    if codes.dtype is torch.int8:
        return codes
    return (codes.to(torch.int16) - (1 << (bits - 1))).to(torch.int8)


def as_unsigned(codes: Tensor, bits: int) -> Tensor:
    """Inverse of :func:`as_signed`, uint8."""
    if codes.dtype is torch.uint8:
        return codes
    return (codes.to(torch.int16) + (1 << (bits - 1))).to(torch.uint8)


def of_code_type(codes: Tensor, dtype: torch.dtype, bits: int) -> Tensor:
    """Integer codes, int8 or uint8, as the grid has them in memory."""
    return as_signed(codes, bits) if dtype is torch.int8 else as_unsigned(codes, bits)


def unsigned_zeros(weight: QuantizedTensor) -> Tensor:
    """The code of 0 in every group, uint8 like scales: ``2^(b−1)`` for symmetric integers."""
    bits = weight.grid.bits
    if weight.zero_point is None:
        return torch.full(weight.scale.data.shape, 1 << (bits - 1), dtype=torch.uint8)
    return as_unsigned(weight.zero_point, bits)


def with_zeros(linear: QuantizedLinear) -> QuantizedLinear:
    """The same integers as formats have them that always store zero points: unsigned codes.

    Scales are float16. Raises :class:`SchemeError` as :func:`float16_scales`.
    """
    weight, bits = linear.weight, linear.weight.grid.bits
    grid = IntegerGrid(bits, Symmetry.NONE, signed=False)
    weights = replace(weight.scheme, grid=grid, scale_format=ScaleFormat.FLOAT)
    scale = StoredScale(float16_scales(weight), ScaleFormat.FLOAT)
    codes, zeros = as_unsigned(weight.codes, bits), unsigned_zeros(weight)
    return QuantizedLinear(QuantizedTensor(codes, scale, zeros, weights), Scheme(weights))


def made_with_float16(scheme: Scheme) -> Scheme:
    """The scheme of new codes where scales are float16 whatever the model's type is."""
    if scheme.weights.scale_format is not ScaleFormat.FLOAT:
        return scheme
    return replace(scheme, weights=replace(scheme.weights, scale_format=ScaleFormat.FLOAT16))


def float16_scales(weight: QuantizedTensor) -> Tensor:
    """Scales ``(out, groups)`` in float16. Raises :class:`SchemeError` unless it holds each."""
    scale = weight.scale.value()
    narrow = scale.to(torch.float16)
    if not torch.equal(narrow.float(), scale):
        lost = float(scale[narrow.float() != scale][0])
        raise SchemeError(
            f"float16 does not hold a scale of {lost:.6g}; choose a format with scales of another "
            "type, compressed-tensors say"
        )
    return narrow


SHAPE = "weight_shape"


def shape_entry() -> dict[str, Entry]:
    """The tensor that says ``(out, in)``."""
    return {SHAPE: Entry(torch.int64, (2,))}


def encode_shape(shape: tuple[int, int]) -> dict[str, Tensor]:
    """``(out, in)`` → that tensor."""
    return {SHAPE: torch.tensor(shape, dtype=torch.int64)}


def decode_shape(tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
    """Inverse of :func:`encode_shape`. Raises :class:`FormatError`."""
    stored = needed_tensor(tensors, SHAPE, module)
    shape = stored.tolist() if stored.dtype == torch.int64 and stored.shape == (2,) else []
    if not shape or not all(0 < size < 1 << 31 for size in shape):
        raise FormatError(
            f"{module}.{SHAPE} is {stored.tolist()} ({stored.dtype}), "
            "not two positive int64 numbers (out, in)"
        )
    return shape[0], shape[1]
