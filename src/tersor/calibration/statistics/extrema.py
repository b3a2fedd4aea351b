"""Ranges of activations: smallest and largest value, their moving average, largest magnitude."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.statistics.statistic import finite, seen
from tersor.ranges import Bounds, MovingAverage


@dataclass(frozen=True, eq=False)
class ActivationRange:
    """Range of every channel and of the whole tensor.

    ``minimum``, ``maximum``: fp32 ``(in,)``; ``tensor_minimum``, ``tensor_maximum``: over all
    channels; ``tokens``: rows seen.
    """

    minimum: Tensor
    maximum: Tensor
    tensor_minimum: float
    tensor_maximum: float
    tokens: int


@dataclass(frozen=True, eq=False)
class PerChannel:
    """One fp32 value per channel, ``values (in,)``, from ``tokens`` rows."""

    values: Tensor
    tokens: int


class MinMax:
    """The smallest and largest value seen."""

    def __init__(self) -> None:
        self._bounds: tuple[Tensor, Tensor] | None = None
        self._tokens = 0

    def update(self, x: Tensor) -> None:
        """Widen the range by ``x (tokens, in)``."""
        if len(x) == 0:
            return
        low, high = finite(x).float().aminmax(dim=0)
        if self._bounds is not None:
            low = torch.minimum(low, self._bounds[0])
            high = torch.maximum(high, self._bounds[1])
        self._bounds = low, high
        self._tokens += len(x)

    def result(self) -> ActivationRange:
        """The range; :class:`TextError` if no token was seen."""
        tokens = seen(self._tokens)
        assert self._bounds is not None
        low, high = self._bounds
        return ActivationRange(low, high, float(low.min()), float(high.max()), tokens)


class MovingMinMax:
    """Exponential average of the ranges of successive updates: ``r ← m·r + (1 − m)·update``.

    The first update starts it. The tensor's range is averaged by itself: it is the average of the
    updates' extremes, not the extremes of the channels' averages. See
    :class:`~tersor.ranges.MovingAverage`.
    """

    def __init__(self, momentum: float = 0.9) -> None:
        """Raises :class:`RecipeError` for a ``momentum`` outside [0, 1)."""
        self._rule = MovingAverage(momentum)
        # Minimum and maximum (in + 1) in fp64, the whole tensor's in the last column.
        self._average: Bounds | None = None
        self._tokens = 0

    def update(self, x: Tensor) -> None:
        """Account for the range of ``x (tokens, in)``: one step of the average."""
        if len(x) == 0:
            return
        low, high = finite(x).double().aminmax(dim=0)
        ends = torch.cat([low, low.min()[None]]), torch.cat([high, high.max()[None]])
        self._average = self._rule.update(self._average, ends)
        self._tokens += len(x)

    def result(self) -> ActivationRange:
        """The averaged range; :class:`TextError` if no token was seen."""
        tokens = seen(self._tokens)
        assert self._average is not None
        low, high = (end.float() for end in self._average)
        return ActivationRange(
            low[:-1].clone(), high[:-1].clone(), float(low[-1]), float(high[-1]), tokens
        )


class AbsMax:
    """The largest magnitude of every channel: SmoothQuant's ``amax(|X_j|)``."""

    def __init__(self) -> None:
        self._largest: Tensor | None = None
        self._tokens = 0

    def update(self, x: Tensor) -> None:
        """Account for ``x (tokens, in)``."""
        if len(x) == 0:
            return
        largest = finite(x).float().abs().amax(dim=0)
        self._largest = largest if self._largest is None else torch.maximum(self._largest, largest)
        self._tokens += len(x)

    def result(self) -> PerChannel:
        """Largest magnitudes; :class:`TextError` if no token was seen."""
        tokens = seen(self._tokens)
        assert self._largest is not None
        return PerChannel(self._largest, tokens)
