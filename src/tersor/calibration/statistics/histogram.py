"""A histogram of activations whose range grows with what it sees.

Bins have a power of two as their width and an edge at 0, so doubling the width merges pairs of bins
exactly. The histogram of a stream is therefore that of all its values at once, whatever the order
and however it was cut.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.statistics.statistic import finite, seen
from tersor.errors import RecipeError

# 2^-149 is the smallest positive fp32: bins start that narrow and only grow.
_NARROWEST = -149
# Elements converted to fp64 at a time.
_CHUNK = 1 << 21


@dataclass(frozen=True, eq=False)
class Histogram:
    """``counts (bins,)`` int64: bin i holds the values from ``edges[i]`` up to ``edges[i + 1]``.

    ``width`` is a bin's, ``minimum`` and ``maximum`` are exact; ``tokens``: rows seen.
    """

    counts: Tensor
    width: float
    minimum: float
    maximum: float
    tokens: int

    @property
    def edges(self) -> Tensor:
        """fp64 ``(bins + 1,)``."""
        bins = len(self.counts)
        return torch.arange(-(bins // 2), bins // 2 + 1, dtype=torch.float64) * self.width

    @property
    def centres(self) -> Tensor:
        """fp64 ``(bins,)``: with ``counts`` as importance, values for a range estimator."""
        return self.edges[:-1] + self.width / 2

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of the values lie, off by a bin's width at most.

        Raises :class:`RecipeError` for a ``share`` outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise RecipeError(f"histogram: share {share} is not within [0, 1]")
        cumulative = self.counts.cumsum(0).double()
        wanted = share * float(cumulative[-1])
        index = min(int(torch.searchsorted(cumulative, wanted)), len(self.counts) - 1)
        count = int(self.counts[index])
        inside = (wanted - (float(cumulative[index]) - count)) / count if count else 0.0
        value = float(self.edges[index]) + inside * self.width
        return min(max(value, self.minimum), self.maximum)


class RunningHistogram:
    """Counts values in ``bins`` bins, half of them below 0; no wider than the values need."""

    def __init__(self, bins: int = 4096) -> None:
        """Raises :class:`RecipeError` unless ``bins`` is even and positive."""
        if bins < 2 or bins % 2:
            raise RecipeError(f"histogram: {bins} bins; give an even number")
        self._bins = bins
        self._counts = torch.zeros(bins, dtype=torch.int64)
        self._exponent = _NARROWEST
        self._minimum, self._maximum = math.inf, -math.inf
        self._tokens = 0

    def update(self, x: Tensor) -> None:
        """Count the values of ``x (tokens, in)``."""
        if x.numel() == 0:
            return
        low, high = (float(end) for end in finite(x).aminmax())
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        self._grow(self._exponent_for(low, high))
        flat = x.flatten()
        for start in range(0, len(flat), _CHUNK):
            piece = flat[start : start + _CHUNK]
            # Exact: a product with a power of two, and fp64 has room for any fp32.
            index = (piece.double() * math.ldexp(1.0, -self._exponent)).floor_().long()
            self._counts += torch.bincount(index + self._bins // 2, minlength=self._bins)
        self._tokens += len(x)

    def result(self) -> Histogram:
        """The histogram; :class:`TextError` if no token was seen."""
        return Histogram(
            counts=self._counts.clone(),
            width=math.ldexp(1.0, self._exponent),
            minimum=self._minimum,
            maximum=self._maximum,
            tokens=seen(self._tokens),
        )

    def _exponent_for(self, low: float, high: float) -> int:
        """The narrowest bins, as a power of two, that hold both values."""
        half, exponent = self._bins // 2, self._exponent
        largest = max(high, -low)
        if largest > 0:
            # 2^(e − 1) ≤ largest / half: widths below 2^(e − 2) cannot do, whatever the rounding.
            exponent = max(exponent, math.frexp(largest / half)[1] - 2)
        while high >= math.ldexp(half, exponent) or low < -math.ldexp(half, exponent):
            exponent += 1
        return exponent

    def _grow(self, exponent: int) -> None:
        """Merge bins until they are ``2^exponent`` wide."""
        steps = exponent - self._exponent
        if steps == 0:
            return
        half = self._bins // 2
        # An arithmetic shift rounds down, as a value's own bin number does.
        index = (torch.arange(-half, half) >> min(steps, 62)) + half
        self._counts = torch.zeros_like(self._counts).index_add_(0, index, self._counts)
        self._exponent = exponent
