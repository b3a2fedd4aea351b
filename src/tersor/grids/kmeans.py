"""A codebook fitted to one tensor: Lloyd's algorithm in one dimension.

Han et al., "Deep Compression", https://arxiv.org/abs/1510.00149, section 3. It runs on a histogram
of the scaled values, so it takes milliseconds whatever the tensor's size, and from two fixed
starts, so it is deterministic. One level is held at 0 throughout.
"""

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
    counts = torch.histc(scaled.float(), bins=_BINS, min=-1.0, max=1.0).double()
    centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (2.0 / _BINS) - 1.0
    starts = (_quantiles(counts, centres, 1 << bits), _uniform(1 << bits))
    fitted = [_lloyd(counts, centres, levels) for levels in starts]
    best = min(fitted, key=lambda levels: _error(counts, centres, levels))
    return tuple(best.float().tolist())


def _quantiles(counts: Tensor, centres: Tensor, levels: int) -> Tensor:
    shares = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    cumulative = counts.cumsum(0)
    indices = torch.searchsorted(cumulative, shares * cumulative[-1])
    return centres[indices.clamp(max=len(centres) - 1)]


def _uniform(levels: int) -> Tensor:
    """The two's complement grid: ``−1`` to ``1 − 2/levels``, evenly spaced."""
    return torch.arange(-levels // 2, levels // 2, dtype=torch.float64) / (levels // 2)


def _lloyd(counts: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
    levels = levels.clone()
    levels[levels.abs().argmin()] = 0.0
    levels = levels.sort().values
    zero = levels.abs().argmin()
    for _ in range(_ITERATIONS):
        moved = _centroids(counts, centres, levels)
        moved[zero] = 0.0
        if torch.equal(moved, levels):
            break
        levels = moved
    return levels


def _centroids(counts: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
    """Move every level to the mean of the values nearest to it; an empty cell keeps its level."""
    nearest = _nearest(centres, levels)
    weight = torch.zeros_like(levels).scatter_add_(0, nearest, counts)
    total = torch.zeros_like(levels).scatter_add_(0, nearest, counts * centres)
    return torch.where(weight > 0, total / weight.clamp(min=1), levels)


def _nearest(centres: Tensor, levels: Tensor) -> Tensor:
    return torch.bucketize(centres, (levels[1:] + levels[:-1]) / 2)


def _error(counts: Tensor, centres: Tensor, levels: Tensor) -> float:
    return float((counts * (centres - levels[_nearest(centres, levels)]).square()).sum())
