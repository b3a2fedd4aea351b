"""How the next token is chosen."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.errors import OptionError
from tersor.options import limits, of_kind

# What the likeliest token depends on too.
_AT_ZERO = ("temperature", "repetition_penalty")


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 takes the likeliest token; otherwise one is drawn.

    The draw is restricted to the ``top_k`` likeliest tokens (0: all), then to the fewest that hold
    ``top_p`` of the probability left, then to those at least ``min_p`` times as likely as the
    likeliest. Same ``seed``, same tokens. ``repetition_penalty``: what makes tokens of the prompt
    and the answer less likely to come again (:func:`penalized`); 1 leaves them alone. Raises
    :class:`~tersor.errors.OptionError` for values out of range, and for those that mean nothing at
    temperature 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        checked = {
            "temperature": limits.TEMPERATURE(self.temperature),
            "top_k": limits.TOP_K(self.top_k),
            "top_p": limits.TOP_P(self.top_p),
            "min_p": limits.MIN_P(self.min_p),
            "seed": limits.SEED(self.seed),
            "repetition_penalty": limits.REPETITION_PENALTY(self.repetition_penalty),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.temperature == 0:
            unheard = (f for f in fields(self) if f.name not in _AT_ZERO)
            for field in unheard:
                if getattr(self, field.name) != field.default:
                    raise OptionError(field.name, "has no effect while {} is 0", "temperature")


def penalized(
    logits: NDArray[np.float32], tokens: NDArray[np.int64], penalty: float
) -> NDArray[np.float32]:
    """Logits ``(vocabulary,)`` with those of ``tokens``, all different, brought down.

    Keskar et al., CTRL, https://arxiv.org/abs/1909.05858, section 4.1, with what everybody adds to
    it: what is above 0 is divided by ``penalty``, what is below is multiplied.
    """
    changed, factor = logits.copy(), np.float32(penalty)
    of_tokens = logits[tokens]
    changed[tokens] = np.where(of_tokens > 0, of_tokens / factor, of_tokens * factor)
    return changed


class Sampler:
    """Draws tokens one after the other, behind those of ``prompt``."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int] = ()) -> None:
        self._sampling = of_kind("sampling", sampling, Sampling)
        self._random = random.Random(self._sampling.seed)
        self._prompt = prompt if self._sampling.repetition_penalty != 1 else ()
        # (vocabulary,), made when that is known.
        self._seen: NDArray[np.bool_] | None = None

    def choose(self, logits: NDArray[np.float32]) -> int:
        """A token for float32 logits ``(vocabulary,)``, all finite."""
        rule = self._sampling
        if rule.repetition_penalty != 1:
            logits = penalized(logits, self._tokens_seen(len(logits)), rule.repetition_penalty)
        uniform = self._random.random() if rule.temperature > 0 else 0.0
        token = _native.sample(
            logits, rule.temperature, rule.top_k, rule.top_p, rule.min_p, uniform
        )
        if self._seen is not None:
            self._seen[token] = True
        return token

    def _tokens_seen(self, vocabulary: int) -> NDArray[np.int64]:
        if self._seen is None:
            self._seen = np.zeros(vocabulary, np.bool_)
            self._seen[np.asarray(self._prompt, np.int64)] = True
        return np.flatnonzero(self._seen)
