"""Means over tokens, per channel. Sums are kept in fp64."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from tersor.calibration.statistics.extrema import PerChannel
from tersor.calibration.statistics.statistic import finite, seen


class _Mean(ABC):
    """Mean over tokens of a function of the activations."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._tokens = 0

    @abstractmethod
    def _term(self, x: Tensor) -> Tensor:
        """What is averaged, of fp32 ``x (tokens, in)``: the same shape."""

    def update(self, x: Tensor) -> None:
        """Account for ``x (tokens, in)``."""
        if len(x) == 0:
            return
        total = self._term(finite(x).float()).sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._tokens += len(x)

    def result(self) -> PerChannel:
        """The means; :class:`TextError` if no token was seen."""
        tokens = seen(self._tokens)
        assert self._sum is not None
        return PerChannel((self._sum / tokens).float(), tokens)


class Mean(_Mean):
    """``E[x_j]``: what bias correction needs."""

    def _term(self, x: Tensor) -> Tensor:
        return x


class MeanMagnitude(_Mean):
    """``E[|x_j|]``: AWQ's measure of a channel's importance (https://arxiv.org/abs/2306.00978)."""

    def _term(self, x: Tensor) -> Tensor:
        return x.abs()


class MeanSquare(_Mean):
    """``E[x_j²]``: the importance for range searches (a Hessian's diagonal up to a factor)."""

    def _term(self, x: Tensor) -> Tensor:
        return x.square()
