"""How the next token is chosen."""

import math
import random
from dataclasses import dataclass

from torch import Tensor

from tersor import _native
from tersor.errors import RecipeError


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 takes the likeliest token; otherwise one is drawn.

    The draw is restricted to the ``top_k`` likeliest tokens (0: all), then to the fewest that hold
    ``top_p`` of the probability left, then to those at least ``min_p`` times as likely as the
    likeliest. Same ``seed``, same tokens. Raises :class:`RecipeError` for values out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise RecipeError(f"temperature {self.temperature} is not a number from 0 up")
        if self.top_k < 0:
            raise RecipeError(f"top-k {self.top_k} is less than 0 (which takes all tokens)")
        if not 0 < self.top_p <= 1:
            raise RecipeError(f"top-p {self.top_p} is not above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise RecipeError(f"min-p {self.min_p} is not between 0 and 1")


class Sampler:
    """Draws tokens one after the other."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = random.Random(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """A token for float32 logits ``(vocabulary,)``."""
        rule = self._sampling
        uniform = self._random.random() if rule.temperature > 0 else 0.0
        return _native.sample(
            logits.numpy(), rule.temperature, rule.top_k, rule.top_p, rule.min_p, uniform
        )
