"""Codes of any width in dense 32-bit words."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.formats.entry import Entry
from tersor.formats.storage.kind import (
    Storage,
    as_unsigned,
    decode_shape,
    encode_shape,
    of_code_type,
    shape_entry,
)
from tersor.grids import (
    Granularity,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    TensorScheme,
    pack,
    unpack,
)
from tersor.grids.packing import packed_columns


class PackedWords(Storage):
    """``weight_packed`` int32: dense words of unsigned codes, column 0 in the lowest bits.

    Zero points are packed alike, along the output dimension, unless there is but one.
    """

    def holds(self, scheme: Scheme) -> bool:
        """Integer codes, whatever they mean, with scales in float16, bfloat16 or float32."""
        weights = scheme.weights
        return weights.grid.code_dtype in (
            torch.int8,
            torch.uint8,
        ) and weights.scale_format not in (ScaleFormat.E8M0, ScaleFormat.E4M3)

    def codes(self, weights: TensorScheme, shape: tuple[int, int]) -> dict[str, Entry]:
        """``weight_packed``, and ``weight_shape`` because words do not tell it."""
        words = packed_columns(shape[1], weights.grid.bits)
        return {"weight_packed": Entry(torch.int32, (shape[0], words)), **shape_entry()}

    def encode(self, weight: QuantizedTensor) -> dict[str, Tensor]:
        """Two's complement codes are packed plus ``2^(b−1)``."""
        bits = weight.scheme.grid.bits
        packed = pack(as_unsigned(weight.codes, bits), bits)
        return {"weight_packed": packed, **encode_shape(weight.shape)}

    def decode(
        self, tensors: Mapping[str, Tensor], weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """Unpacked codes."""
        grid = weights.grid
        codes = unpack(tensors["weight_packed"], grid.bits, shape[1])
        return of_code_type(codes, grid.code_dtype, grid.bits)

    def shape(self, tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
        """As ``weight_shape`` says."""
        return decode_shape(tensors, module)

    def zero_point(self, weights: TensorScheme, shape: tuple[int, int]) -> Entry:
        """Words ``(words, groups)``."""
        if weights.granularity is Granularity.TENSOR:
            return super().zero_point(weights, shape)
        words = packed_columns(shape[0], weights.grid.bits)
        return Entry(torch.int32, (words, weights.groups(shape[1])))

    def encode_zero_point(self, zero_point: Tensor, weights: TensorScheme) -> Tensor:
        """Packed along the output dimension, as compressed-tensors wants it."""
        if weights.granularity is Granularity.TENSOR:
            return super().encode_zero_point(zero_point, weights)
        bits = weights.grid.bits
        return pack(as_unsigned(zero_point, bits).T.contiguous(), bits).T

    def decode_zero_point(
        self, stored: Tensor, weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """Unpacked zero points ``(out, groups)``."""
        if weights.granularity is Granularity.TENSOR:
            return super().decode_zero_point(stored, weights, shape)
        grid = weights.grid
        codes = unpack(stored.T.contiguous(), grid.bits, shape[0]).T.contiguous()
        return of_code_type(codes, grid.code_dtype, grid.bits)
