"""A codebook fitted to one tensor: Lloyd's algorithm in one dimension.

Han et al., "Deep Compression", https://arxiv.org/abs/1510.00149, section 3. It runs on a histogram
of the scaled values and starts from quantiles, so it is deterministic and takes milliseconds
whatever the tensor's size.
"""

import torch
from torch import Tensor

_BINS = 4096
_ITERATIONS = 100


def fit_levels(scaled: Tensor, bits: int) -> tuple[float, ...]:
    """``2^bits`` ascending levels, one of them 0, that minimise the squared error of ``scaled``.

    ``scaled``: values in units of their scale, within [−1, 1], any shape.
    """
    counts = torch.histc(scaled.float(), bins=_BINS, min=-1.0, max=1.0).double()
    centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (2.0 / _BINS) - 1.0
    levels = _quantile_start(counts, centres, 1 << bits)
    for _ in range(_ITERATIONS):
        moved = _lloyd_step(counts, centres, levels)
        if torch.equal(moved, levels):
            break
        levels = moved
    levels[levels.abs().argmin()] = 0.0
    return tuple(levels.float().tolist())


def _quantile_start(counts: Tensor, centres: Tensor, levels: int) -> Tensor:
    shares = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    cumulative = counts.cumsum(0)
    indices = torch.searchsorted(cumulative, shares * cumulative[-1])
    return centres[indices.clamp(max=len(centres) - 1)].clone()


def _lloyd_step(counts: Tensor, centres: Tensor, levels: Tensor) -> Tensor:
    """Move every level to the mean of the values nearest to it; an empty cell keeps its level."""
    nearest = torch.bucketize(centres, (levels[1:] + levels[:-1]) / 2)
    weight = torch.zeros_like(levels).scatter_add_(0, nearest, counts)
    total = torch.zeros_like(levels).scatter_add_(0, nearest, counts * centres)
    return torch.where(weight > 0, total / weight.clamp(min=1), levels).sort().values
