"""How the weights of a matrix are spread."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.grids.blocks import row_chunks

BINS = 64


@dataclass(frozen=True)
class Distribution:
    """Moments and histogram of all weights of a matrix.

    ``kurtosis``: excess kurtosis, ``E(w - mean)⁴ / σ⁴ - 3``: 0 for a bell curve, more for longer
    tails; 0 where all weights are the same. ``histogram``: how many weights lie in each of 64 bins
    of one width from ``-largest`` to ``largest``.
    """

    mean: float
    deviation: float
    kurtosis: float
    lowest: float
    highest: float
    histogram: tuple[int, ...]

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.lowest, self.highest)

    @property
    def reach(self) -> float:
        """The largest magnitude in units of the standard deviation; 0 without a deviation."""
        return self.largest / self.deviation if self.deviation > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"histogram": list(self.histogram)}


def distribution(weight: Tensor) -> Distribution:
    """Of a matrix ``(out, in)`` of any float type; sums are float64, a few rows at a time."""
    low, high = (float(end) for end in weight.aminmax())
    count = weight.numel()
    mean = sum(float(part.sum(dtype=torch.float64)) for part in _chunks(weight)) / count
    counts = torch.zeros(BINS, dtype=torch.int64)
    largest = max(-low, high)
    second = fourth = 0.0
    for part in _chunks(weight):
        squares = (part.double() - mean).square()
        second += float(squares.sum())
        fourth += float(squares.square().sum())
        if largest > 0:
            counts += torch.histc(part, BINS, -largest, largest).long()
        else:
            counts[BINS // 2] += part.numel()
    variance = second / count
    kurtosis = fourth / count / variance**2 - 3 if variance > 0 else 0.0
    return Distribution(mean, variance**0.5, kurtosis, low, high, tuple(counts.tolist()))


def _chunks(weight: Tensor) -> Iterator[Tensor]:
    """Rows as float32: exact for the types that weights are stored in."""
    return (weight[rows].float() for rows in row_chunks(*weight.shape))
