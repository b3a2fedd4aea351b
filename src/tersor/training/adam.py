"""Adam (https://arxiv.org/abs/1412.6980) for latent linears, one matrix at a time.

torch's own optimizer wants gradients of all parameters at once; here those of positions and scales
are made from a weight's gradient, used, and dropped, matrix by matrix and on several cores.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from tersor.training.latent import LatentLinear

_FIRST, _SECOND = 0.9, 0.99
_TINY = 1e-20


class Rates(Protocol):
    """Largest steps: of positions in codes, of scales as a share of themselves."""

    @property
    def position_rate(self) -> float:
        """0 leaves positions alone, and costs no memory for them."""
        ...

    @property
    def scale_rate(self) -> float:
        """0 leaves scales alone."""
        ...


class Adam:
    """Moments of the gradients of all latents."""

    def __init__(self, latents: Mapping[str, LatentLinear], rates: Rates) -> None:
        self._latents, self._rates = latents, rates
        self._steps = 0
        trained = rates.position_rate > 0
        self._moments = {
            name: (
                _Moments(latent.ratio),
                _Moments(latent.positions) if trained else None,
            )
            for name, latent in latents.items()
        }

    def begin(self) -> None:
        """Count a step; every latent is then updated once."""
        self._steps += 1

    def step(self, name: str, gradient: Tensor, rate: float) -> None:
        """Move one latent by ``rate`` times the largest step; ``gradient``: its weight's."""
        latent = self._latents[name]
        positions, ratio = latent.gradients(gradient)
        of_ratio, of_positions = self._moments[name]
        direction = of_ratio.direction(ratio, self._steps)
        latent.ratio.sub_(direction, alpha=rate * self._rates.scale_rate)
        if of_positions is not None:
            direction = of_positions.direction(positions, self._steps)
            latent.positions.sub_(direction, alpha=rate * self._rates.position_rate)


class _Moments:
    def __init__(self, like: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)

    def direction(self, gradient: Tensor, step: int) -> Tensor:
        """Where to go, about 1 in size."""
        self._mean.lerp_(gradient, 1 - _FIRST)
        self._square.lerp_(gradient.square(), 1 - _SECOND)
        mean = self._mean / (1 - _FIRST**step)
        root = (self._square / (1 - _SECOND**step)).sqrt_()
        return mean.div_(root.add_(_TINY))
