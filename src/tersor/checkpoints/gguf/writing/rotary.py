"""Rotary position embeddings of a ``config.json`` → GGUF metadata and tensors of factors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.gguf.rope import DEFAULT_THETA, LLAMA3, llama3_factors
from tersor.errors import SchemeError

_KIND = ("rope_type", "type")
_KNOWN = {"rope_theta", "partial_rotary_factor", *_KIND}


@dataclass(frozen=True)
class Rotary:
    """``metadata`` without the architecture's prefix; ``factors``: tensors by their names."""

    metadata: Mapping[str, Any]
    factors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def rotary_of(config: Mapping[str, Any], head_dim: int, *, turns_part: bool) -> Rotary:
    """What llama.cpp must know of them. ``turns_part``: a part of a head may be turned alone.

    Raises :class:`SchemeError` for a scaling that llama.cpp does not compute from such a file.
    """
    given, local = _parameters(config)
    theta = float(given.get("rope_theta") or config.get("rope_theta") or DEFAULT_THETA)
    part = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    turned = int(head_dim * part) if turns_part else head_dim
    metadata: dict[str, Any] = {"rope.freq_base": theta, "rope.dimension_count": turned}
    if local is not None:
        metadata["rope.freq_base_swa"] = float(local)
    kind = next((given[key] for key in _KIND if given.get(key)), "default")
    settings = {key: value for key, value in given.items() if key not in _KNOWN}
    scaling = _scaling(kind, settings, config, theta, turned)
    return Rotary({**metadata, **scaling.metadata}, scaling.factors)


def _parameters(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], float | None]:
    """Those of all layers, or of those that see everything; and the base of the others."""
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    local = config.get("rope_local_base_freq")
    if "full_attention" in new:
        sliding = new.get("sliding_attention") or {}
        if any(sliding.get(key, "default") != "default" for key in _KIND):
            raise _unsaid("scaled positions in layers with a window")
        return {**new["full_attention"], **old}, sliding.get("rope_theta", local)
    return {**new, **old}, local


def _scaling(
    kind: str, given: dict[str, Any], config: Mapping[str, Any], theta: float, turned: int
) -> Rotary:
    original = given.pop("original_max_position_embeddings", None)
    original = original or config.get("original_max_position_embeddings")
    longest = int(config.get("max_position_embeddings", 0))
    if kind == "default":
        return Rotary({})
    if kind == "llama3":
        factor = float(given.pop("factor", 0))
        if given | {"original_max_position_embeddings": original} != LLAMA3 or factor < 1:
            raise _unsaid("this scaling of Llama 3's kind")
        factors = llama3_factors(theta, factor, turned // 2).astype(np.float32)
        return Rotary({}, {"rope_freqs.weight": factors})
    if kind == "longrope" and original:
        names = {
            "rope_factors_long.weight": "long_factor",
            "rope_factors_short.weight": "short_factor",
        }
        factors_of = {name: np.array(given.pop(key, []), np.float32) for name, key in names.items()}
        stretch = float(given.pop("factor", None) or longest / original)
        attention = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
        attention = float(given.pop("attention_factor", None) or attention)
        if given or any(found.size != turned // 2 for found in factors_of.values()):
            raise _unsaid("these factors of positions")
        metadata = {"original_context_length": int(original), "attn_factor": attention}
        return Rotary(_prefixed(metadata), factors_of)
    if kind in ("linear", "yarn") and given.keys() == {"factor"}:
        said = {"type": kind, "factor": float(given["factor"])}
        if kind == "yarn":
            said["original_context_length"] = int(original or longest)
        return Rotary(_prefixed(said))
    raise _unsaid(f"positions scaled by {kind!r} with {', '.join(sorted(given)) or 'no factor'}")


def _prefixed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {f"rope.scaling.{key}": value for key, value in metadata.items()}


def _unsaid(what: str) -> SchemeError:
    return SchemeError(
        f"GGUF cannot say {what} (rope_parameters in config.json); write another format"
    )
