"""How the next token is chosen."""

import math
import random
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.errors import NonFiniteWeight, OptionError
from tersor.options import limits, of_kind


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 takes the likeliest token; otherwise one is drawn.

    The draw is restricted to the ``top_k`` likeliest tokens (0: all), then to the fewest that hold
    ``top_p`` of the probability left, then to those at least ``min_p`` times as likely as the
    likeliest. Same ``seed``, same tokens. Raises :class:`~tersor.errors.OptionError` for values out
    of range, and for those that mean nothing at temperature 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        checked = {
            "temperature": limits.TEMPERATURE(self.temperature),
            "top_k": limits.TOP_K(self.top_k),
            "top_p": limits.TOP_P(self.top_p),
            "min_p": limits.MIN_P(self.min_p),
            "seed": limits.SEED(self.seed),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.temperature == 0:
            unheard = (f.name for f in fields(self) if getattr(self, f.name) != f.default)
            for name in unheard:
                raise OptionError(name, "has no effect while {} is 0", "temperature")


class Sampler:
    """Draws tokens one after the other."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = of_kind("sampling", sampling, Sampling)
        self._random = random.Random(self._sampling.seed)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """A token for float32 logits ``(vocabulary,)``.

        Raises :class:`NonFiniteWeight` if its own is not finite: NaN anywhere before the head makes
        all of them NaN.
        """
        rule = self._sampling
        uniform = self._random.random() if rule.temperature > 0 else 0.0
        token = _native.sample(
            logits, rule.temperature, rule.top_k, rule.top_p, rule.min_p, uniform
        )
        if not math.isfinite(logits[token]):
            raise NonFiniteWeight(
                "logits hold NaN or infinity: a weight is damaged or an activation overflows; "
                "make or download the model again"
            )
        return token
