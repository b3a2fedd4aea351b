"""Rotary embeddings of a decoder, as transformers defines them, in numpy.

Powers, cosines and sines are those of float64 rounded once, so that every machine has the same.
transformers' own are of torch in float32, whose last bit depends on the processor's instructions;
all other steps are in float32 and in transformers' order, which gives its bits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from reprlib import repr as clipped

import numpy as np
from numpy.typing import NDArray

from tersor.errors import EngineError, SourceError
from tersor.families.decoder import Decoder
from tersor.runtime.decoder.configuration.fields import Fields

Floats = NDArray[np.float32]

_ORIGINAL = "original_max_position_embeddings"
# Positions whose angles stay in the caches between one step and the next.
_PIECE = 256


@dataclass(frozen=True, eq=False)
class Rope:
    """Angles are positions times ``frequencies`` ``(half,)``; ``scale`` is of cosines and sines.

    ``pairs``: neighbours turn together, not halves.
    """

    frequencies: Floats
    scale: float
    pairs: bool = False

    def table(self, positions: int) -> tuple[Floats, Floats]:
        """Cosines and sines, float32 ``(positions, half)``."""
        places = np.arange(positions, dtype=np.float32)[:, None]
        shape, scale = (positions, len(self.frequencies)), np.float32(self.scale)
        cosines, sines = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for first in range(0, positions, _PIECE):
            piece = slice(first, first + _PIECE)
            # Rounded to float32, because models have been trained with such angles.
            angles = (places[piece] * self.frequencies).astype(np.float64)
            np.multiply(np.cos(angles).astype(np.float32), scale, out=cosines[piece])
            np.multiply(np.sin(angles).astype(np.float32), scale, out=sines[piece])
        return cosines, sines


def rotary(parameters: Fields, head_size: int, facts: Decoder) -> Rope:
    """The rotary embedding with such ``parameters`` (from ``rope_fields``).

    Raises :class:`EngineError` for kinds that change with the length of a text, and for angles that
    do not fit the heads; :class:`SourceError` for parameters that give no angles.
    """
    kind = parameters.raw("rope_type")
    if not isinstance(kind, str) or kind not in (facts.ropes or _KINDS):
        raise EngineError(f"rotary embedding of type {clipped(kind)}")
    turned = int(head_size * min(parameters.positive("partial_rotary_factor"), 2))
    half = -(-turned // 2)
    if 2 * half > head_size or (2 * half < head_size and not facts.turns_part):
        raise EngineError(f"{2 * half} dimensions that turn in heads of {head_size}")
    with np.errstate(all="ignore"):
        try:
            rope = _KINDS[kind](parameters, turned)
        except (ArithmeticError, ValueError) as error:
            raise _no_angles(parameters, str(error)) from error
    if not (np.isfinite(rope.frequencies).all() and math.isfinite(rope.scale)):
        raise _no_angles(parameters, "not finite")
    return replace(rope, pairs=facts.turns_pairs)


def powers(base: float, turned: int) -> Floats:
    """``base ** (0, 2, 4, …) / turned``: wavelengths divided by 2 π, ``(half,)``."""
    exponents = np.arange(0, turned, 2, dtype=np.float32) / np.float32(turned)
    return (np.float64(np.float32(base)) ** exponents.astype(np.float64)).astype(np.float32)


def _default(parameters: Fields, turned: int) -> Rope:
    waves = powers(parameters.positive("rope_theta"), turned)
    return Rope(np.float32(1) / waves, 1.0)


def _linear(parameters: Fields, turned: int) -> Rope:
    plain = _default(parameters, turned)
    return Rope(plain.frequencies / np.float32(parameters.positive("factor")), 1.0)


def _llama3(parameters: Fields, turned: int) -> Rope:
    """Long waves are stretched by ``factor``, short ones left, those between interpolated."""
    plain = _default(parameters, turned).frequencies
    factor, original = parameters.positive("factor"), parameters.positive(_ORIGINAL)
    low, high = parameters.positive("low_freq_factor"), parameters.positive("high_freq_factor")
    waves = 1 / plain * np.float32(2 * math.pi)
    longest, shortest = np.float32(original / low), np.float32(original / high)
    stretched = np.where(waves > longest, plain / np.float32(factor), plain)
    share = (1 / waves * np.float32(original) - np.float32(low)) / np.float32(high - low)
    between = (1 - share) * stretched / np.float32(factor) + share * stretched
    is_between = ~(waves < shortest) & ~(waves > longest)
    return Rope(np.where(is_between, between, stretched), 1.0)


def _yarn(parameters: Fields, turned: int) -> Rope:
    """https://arxiv.org/abs/2309.00071: a ramp over the dimensions between left and stretched."""
    base, original = parameters.positive("rope_theta"), parameters.positive(_ORIGINAL)
    factor = parameters.optional_number("factor")
    if factor is None and "factor" in parameters.values:
        factor = parameters.positive("max_position_embeddings") / original
    if factor is None:
        raise parameters.refused("factor", "a number above 0")
    waves = powers(base, turned)
    left, stretched = 1 / waves, 1 / (np.float32(factor) * waves)

    def dimension(field: str, default: float) -> float:
        turns = parameters.optional_number(field) or default
        return turned * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension("beta_fast", 32), dimension("beta_slow", 1)
    if parameters.values.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, turned - 1)
    if low == high:
        high += 0.001
    places = np.arange(turned // 2, dtype=np.float32)
    ramp = np.clip((places - np.float32(low)) / np.float32(high - low), 0, 1)
    share = 1 - ramp
    return Rope(stretched * (1 - share) + left * share, _attention_scale(parameters, factor))


def _attention_scale(parameters: Fields, factor: float) -> float:
    given = parameters.optional_number("attention_factor")
    if given is not None:
        return float(given)

    def scale(much: float) -> float:
        return 0.1 * much * math.log(factor) + 1 if factor > 1 else 1.0

    one, all_dimensions = (parameters.optional_number(n) for n in ("mscale", "mscale_all_dim"))
    return scale(one) / scale(all_dimensions) if one and all_dimensions else scale(1)


def _no_angles(parameters: Fields, why: str) -> SourceError:
    name = parameters.prefix.removesuffix(".")
    return SourceError(
        f"{parameters.place}: {name} makes no rotary embedding ({why}); take the config.json that "
        "belongs to the weights"
    )


_KINDS: Mapping[str, Callable[[Fields, int], Rope]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
