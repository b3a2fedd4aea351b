"""The quantized tensor: codes and what they mean."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.grids.blocks import row_chunks, segments
from tersor.grids.grid import Grid
from tersor.grids.scales import StoredScale
from tersor.grids.scheme import Granularity, TensorScheme


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A matrix ``(out, in)`` as codes.

    - ``codes``: ``(out, in)``, unpacked, of the grid's code type
    - ``scale``: ``(out, groups)``; ``(out, 1)`` per channel, ``(1, 1)`` per tensor
    - ``zero_point``: like ``scale``, codes, or float32 minima; ``None`` if the grid is symmetric
    - ``codebook``: float32 ``(levels,)`` if the levels were fitted to this tensor
    """

    codes: Tensor
    scale: StoredScale
    zero_point: Tensor | None
    scheme: TensorScheme
    codebook: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)``."""
        out_features, in_features = self.codes.shape
        return out_features, in_features

    @property
    def grid(self) -> Grid:
        """The scheme's grid, with this tensor's own levels if it has any."""
        grid = self.scheme.grid
        if self.codebook is None:
            return grid
        return grid.with_levels(tuple(self.codebook.tolist()))

    def rows(self, start: int, stop: int) -> "QuantizedTensor":
        """Rows ``start:stop`` as a quantized tensor; views, no copies."""
        if self.scheme.granularity is Granularity.TENSOR:
            return replace(self, codes=self.codes[start:stop])
        zero_point = self.zero_point
        return replace(
            self,
            codes=self.codes[start:stop],
            scale=replace(self.scale, data=self.scale.data[start:stop]),
            zero_point=None if zero_point is None else zero_point[start:stop],
        )

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The values the codes stand for, ``(out, in)``.

        Computed in float32 and rounded once to ``dtype``. A scale of the model's 16-bit type times
        a code of at most 8 bits is exact in float32, so this equals what engines compute directly
        in that type.
        """
        values = torch.empty(self.codes.shape, dtype=dtype)
        for rows in row_chunks(*self.shape):
            self.rows(rows.start, rows.stop)._decode_into(values[rows])
        return values

    def _decode_into(self, values: Tensor) -> None:
        scale, grid = self.scale.value(), self.grid
        for segment in segments(self.scheme, self.shape[1]):
            zero_point = None if self.zero_point is None else segment.parameters(self.zero_point)
            blocks = segment.blocks(self.codes)
            decoded = grid.decode(blocks, segment.parameters(scale), zero_point)
            segment.blocks(values).copy_(decoded)
