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
from math import log10

import torch
from torch import Tensor

from tersor import _native
from tersor.grids.blocks import row_chunks, segments
from tersor.grids.scheme import Granularity
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
        ratio = self.signal / self.mse
        return float("-inf") if ratio == 0 else 10 * log10(ratio)


def error_parts(
    weight: Tensor, quantized: QuantizedTensor, bounds: tuple[Tensor, Tensor] | None = None
) -> ErrorParts:
    """Split the error of ``quantized`` against the original ``weight`` ``(out, in)``.

    ``bounds``: the range ``(low, high)``, each shaped like the scale, that the grid was fitted to.
    Without it the grid's own span counts as the range, and nothing is blamed on the zero point.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    largest = 0.0
    shared = quantized.scheme.granularity is Granularity.TENSOR
    for rows in row_chunks(*quantized.shape):
        ends = bounds if bounds is None or shared else (bounds[0][rows], bounds[1][rows])
        part = quantized.rows(rows.start, rows.stop)
        chunk_sums, chunk_largest = _chunk_errors(weight[rows].float().contiguous(), part, ends)
        sums += chunk_sums
        largest = max(largest, chunk_largest)
    rounding, clipping, zero_point, signal = (sums / max(1, weight.numel())).tolist()
    return ErrorParts(rounding, clipping, zero_point, signal, largest)


def _chunk_errors(
    weight: Tensor, quantized: QuantizedTensor, bounds: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, float]:
    """Sums of the parts and of the signal, float64 ``(4,)``, and the largest absolute error."""
    restored = quantized.dequantize()
    scale, zero_point = quantized.scale.value(), quantized.zero_point
    span = quantized.grid.span(scale, zero_point)
    low, high = span if bounds is None else bounds
    groups = quantized.scheme.groups(weight.shape[1])
    ends = [end.expand(len(weight), groups) for end in (low.clamp(max=0), high.clamp(min=0), *span)]
    sums = torch.zeros(4, dtype=torch.float64)
    largest = 0.0
    for part in segments(quantized.scheme, weight.shape[1]):
        found = torch.empty(len(weight), 5, dtype=torch.float64)
        own = [end[:, part.first : part.last].contiguous().numpy() for end in ends]
        _native.error_sums(
            weight[:, part.start : part.stop].numpy(),
            restored[:, part.start : part.stop].numpy(),
            own[0],
            own[1],
            own[2],
            own[3],
            found.numpy(),
        )
        sums += found[:, :4].sum(0)
        largest = max(largest, float(found[:, 4].amax()))
    return sums, largest


def value_parts(
    original: Tensor, decoded: Tensor, bounds: tuple[Tensor, Tensor], span: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Rounding, clipping and zero point of every value's error ``original − decoded``.

    ``bounds``, ``span``: ends of the range, which contains 0, and of the grid; all broadcast.
    """
    in_range = original.clamp(*bounds)
    in_grid = in_range.clamp(*span)
    return in_grid - decoded, original - in_range, in_range - in_grid


def error_sums_reference(
    original: Tensor, decoded: Tensor, bounds: tuple[Tensor, Tensor], span: tuple[Tensor, Tensor]
) -> Tensor:
    """What the native loop computes per row, float64 ``(rows, 5)``.

    ``original``, ``decoded``: float32 ``(rows, groups, size)``; ``bounds``, ``span``: ends of the
    range and of the grid, ``(rows, groups, 1)``.
    """
    error = original - decoded
    parts = value_parts(original, decoded, bounds, span)
    sums = [(error * part).sum((1, 2), dtype=torch.float64) for part in parts]
    signal = original.square().sum((1, 2), dtype=torch.float64)
    return torch.stack([*sums, signal, error.abs().amax((1, 2)).double()], dim=1)
