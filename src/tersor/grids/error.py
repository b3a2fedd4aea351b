"""Where the error of a quantized tensor comes from.

``w − w'`` is split, value by value and without remainder, into

- *clipping*: what the chosen range ``[low, high]`` cuts off,
- *zero point*: what is cut off besides because the grid does not lie where the range does: the zero
  point is an integer and the scale a 16-bit number, so the grid's ends miss ``low`` and ``high``,
- *rounding*: the rest, at most half a step inside the grid.

Each part's share of the mean squared error is ``mean(e · part)``; the shares add up to
``mean(e²)``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.grids.blocks import as_rows, segments
from tersor.grids.tensor import QuantizedTensor


@dataclass(frozen=True)
class ErrorParts:
    """Mean squared errors in units of the weight squared, and the signal they are measured against.

    ``rounding + clipping + zero_point = mse``. ``largest`` is the largest absolute error.
    """

    rounding: float
    clipping: float
    zero_point: float
    signal: float
    largest: float

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.rounding + self.clipping + self.zero_point

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise in decibels; infinite if nothing was lost."""
        if self.mse <= 0:
            return float("inf")
        if self.signal <= 0:
            return float("-inf")
        return float(10 * torch.log10(torch.tensor(self.signal / self.mse, dtype=torch.float64)))


def error_parts(
    weight: Tensor, quantized: QuantizedTensor, bounds: tuple[Tensor, Tensor] | None = None
) -> ErrorParts:
    """Split the error of ``quantized`` against the original ``weight`` ``(out, in)``.

    ``bounds``: the range ``(low, high)``, each shaped like the scale, that the grid was fitted to.
    Without it the grid's own span counts as the range, and nothing is blamed on the zero point.
    """
    rows = as_rows(weight.float(), quantized.scheme)
    restored = as_rows(quantized.dequantize(), quantized.scheme)
    scale = quantized.scale.value()
    sums = torch.zeros(4, dtype=torch.float64)
    largest = 0.0
    for segment in segments(quantized.scheme, rows.shape[1]):
        original = segment.blocks(rows)
        zero_point = quantized.zero_point
        zero = None if zero_point is None else segment.parameters(zero_point)
        grid_low, grid_high = quantized.grid.span(segment.parameters(scale), zero)
        in_grid = original.clamp(grid_low, grid_high)
        in_range = in_grid
        if bounds is not None:
            low, high = (segment.parameters(bound) for bound in bounds)
            in_range = original.clamp(low.clamp(max=0), high.clamp(min=0))
            in_grid = in_range.clamp(grid_low, grid_high)
        error = original - segment.blocks(restored)
        parts = (in_grid - segment.blocks(restored), original - in_range, in_range - in_grid)
        sums += torch.stack([_sum(error * part) for part in parts] + [_sum(original * original)])
        largest = max(largest, float(error.abs().max()))
    rounding, clipping, zero_point_part, signal = (sums / max(1, weight.numel())).tolist()
    return ErrorParts(rounding, clipping, zero_point_part, signal, largest)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dtype=torch.float64)
