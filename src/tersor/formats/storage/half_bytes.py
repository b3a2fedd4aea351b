"""Two codes of 4 bits in a byte, with scales of one byte: MXFP4 and NVFP4."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.formats.entry import Entry, shape_of_codes
from tersor.formats.storage.kind import (
    SHAPE,
    Storage,
    decode_shape,
    encode_shape,
    shape_entry,
)
from tersor.grids import QuantizedTensor, ScaleFormat, Scheme, TensorScheme


@dataclass(frozen=True)
class HalfBytes(Storage):
    """``weight_packed`` uint8: the even column in the low half.

    ``scale``: the format of the scales. Only an odd number of columns cannot be told from the
    packed shape, and has a ``weight_shape``.
    """

    scale: ScaleFormat

    def holds(self, scheme: Scheme) -> bool:
        """4 bits with such scales."""
        weights = scheme.weights
        return weights.grid.bits == 4 and weights.scale_format is self.scale

    def codes(self, weights: TensorScheme, shape: tuple[int, int]) -> dict[str, Entry]:
        """``weight_packed``, perhaps ``weight_shape``."""
        rows, columns = shape
        packed = {"weight_packed": Entry(torch.uint8, (rows, -(-columns // 2)))}
        return packed | (shape_entry() if columns % 2 else {})

    def encode(self, weight: QuantizedTensor) -> dict[str, Tensor]:
        """Codes are the grid's own: those of E2M1 are its bits."""
        odd = weight.shape[1] % 2
        padded = torch.nn.functional.pad(weight.codes, (0, odd))
        packed = {"weight_packed": padded[:, ::2] | (padded[:, 1::2] << 4)}
        return packed | (encode_shape(weight.shape) if odd else {})

    def decode(
        self, tensors: Mapping[str, Tensor], weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """One code in each byte."""
        packed = tensors["weight_packed"]
        both = torch.stack((packed & 0x0F, packed >> 4), dim=-1).flatten(1)
        return both[:, : shape[1]].contiguous()

    def shape(self, tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
        """As ``weight_shape`` says, or else twice the packed columns."""
        if SHAPE in tensors:
            return decode_shape(tensors, module)
        rows, columns = shape_of_codes(tensors, "weight_packed", module)
        return rows, columns * 2
