"""Ranges of activations: smallest and largest value, of all and of every piece; magnitudes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.statistics.statistic import finite, seen


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


class WindowRanges:
    """The smallest and largest value of every update."""

    def __init__(self) -> None:
        self._lows: list[float] = []
        self._highs: list[float] = []

    def update(self, x: Tensor) -> None:
        """Note the range of ``x (tokens, in)``."""
        if len(x):
            low, high = finite(x).float().aminmax()
            self._lows.append(float(low))
            self._highs.append(float(high))

    def result(self) -> tuple[Tensor, Tensor]:
        """Lows and highs, fp32 ``(updates,)``; :class:`TextError` if no token was seen."""
        seen(len(self._lows))
        return torch.tensor(self._lows), torch.tensor(self._highs)


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
