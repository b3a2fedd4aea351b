"""A codebook fitted to one tensor: Lloyd's algorithm in one dimension.

Han et al., "Deep Compression", https://arxiv.org/abs/1510.00149, section 3. It runs on a histogram
of the scaled values, so it takes milliseconds whatever the tensor's size, and from two fixed
starts, so it is deterministic. One level is held at 0 throughout.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_BINS = 4096
_ITERATIONS = 100


def fit_levels(scaled: Tensor, bits: int) -> tuple[float, ...]:
    """``2^bits`` ascending levels, one of them 0, that minimise the squared error of ``scaled``.

    ``scaled``: values in units of their group's largest magnitude, within [−1, 1], any shape. No
    step makes the error larger, so the levels are at least as good as the uniform grid, which is
    one of the starts; the other, quantiles, is better where the values crowd around 0.
    """
    histogram = _Histogram.of(scaled)
    starts = (histogram.quantiles(1 << bits), _uniform(1 << bits))
    fitted = [_lloyd(histogram, start) for start in starts]
    return tuple(min(fitted, key=histogram.error).float().tolist())


@dataclass(frozen=True, eq=False)
class _Histogram:
    """Bins on [−1, 1]; ``moments[k, i]`` is the sum of ``x^k`` over the bins before bin ``i``."""

    centres: Tensor
    moments: Tensor

    @classmethod
    def of(cls, scaled: Tensor) -> "_Histogram":
        counts = torch.histc(scaled.float(), bins=_BINS, min=-1.0, max=1.0).double()
        centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (2.0 / _BINS) - 1.0
        powers = torch.stack([counts, counts * centres, counts * centres.square()])
        return cls(centres, torch.nn.functional.pad(powers.cumsum(1), (1, 0)))

    def cells(self, levels: Tensor) -> Tensor:
        """Moments ``(3, levels)`` of the values that are nearest to each level."""
        ends = torch.searchsorted(self.centres, (levels[1:] + levels[:-1]) / 2)
        first, last = torch.tensor([0]), torch.tensor([_BINS])
        return self.moments[:, torch.cat([first, ends, last])].diff(dim=1)

    def quantiles(self, levels: int) -> Tensor:
        shares = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
        indices = torch.searchsorted(self.moments[0, 1:], shares * self.moments[0, -1])
        return self.centres[indices.clamp(max=_BINS - 1)]

    def error(self, levels: Tensor) -> float:
        """Sum of the squared distances to the nearest level."""
        count, total, squares = self.cells(levels)
        return float((squares - 2 * levels * total + levels.square() * count).sum())


def _uniform(levels: int) -> Tensor:
    """The two's complement grid: ``−1`` to ``1 − 2/levels``, evenly spaced."""
    return torch.arange(-levels // 2, levels // 2, dtype=torch.float64) / (levels // 2)


def _lloyd(histogram: _Histogram, start: Tensor) -> Tensor:
    levels = start.clone()
    levels[levels.abs().argmin()] = 0.0
    levels = levels.sort().values
    zero = levels.abs().argmin()
    for _ in range(_ITERATIONS):
        count, total, _ = histogram.cells(levels)
        # Each level moves to the mean of its cell; one with an empty cell stays.
        moved = torch.where(count > 0, total / count.clamp(min=1), levels)
        moved[zero] = 0.0
        if torch.equal(moved, levels):
            break
        levels = moved
    return levels
