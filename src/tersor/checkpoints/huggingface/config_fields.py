"""Fields of ``config.json`` with which tersor or transformers computes: types and ranges.

Only what no model can mean is refused. Types of models have names and lists of their own; what is
not in these tables passes, and so does ``null``, which leaves a default. Whether sizes are those of
the weights is asked elsewhere (``models.sizes``).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from tersor.errors import SourceError

# Above any model's, below what makes a machine work for minutes to find out.
_MOST_BLOCKS, _MOST_EXPERTS, _MOST = 2048, 16384, 2**31 - 1
PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
"""Parts that are a language model too; those for images have lists where a decoder has counts."""


@dataclass(frozen=True)
class _Wanted:
    """``said``: what a value must be; ``holds``: whether it is."""

    said: str
    holds: Callable[[Any], bool]


def _count(least: int, most: int) -> _Wanted:
    def holds(value: Any) -> bool:
        return _whole(value) and least <= value <= most

    return _Wanted(f"a whole number from {least} to {most}", holds)


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


_SIZE, _OPTIONAL_SIZE = _count(1, _MOST), _count(0, _MOST)
_POSITIVE = _Wanted("a finite number above 0", lambda value: _real(value) and value > 0)
_NOT_NEGATIVE = _Wanted("a finite number, 0 or more", lambda value: _real(value) and value >= 0)
_SWITCH = _Wanted("true or false", lambda value: isinstance(value, bool))
_NAME = _Wanted("a name in quotes", lambda value: isinstance(value, str))
_LENGTH = _Wanted("a number from 1", lambda value: _real(value) and value >= 1)
_PART = _Wanted("an object", lambda value: isinstance(value, Mapping))

_FIELDS: Mapping[str, _Wanted] = {
    **dict.fromkeys(
        (
            "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers",
            "num_decoder_layers",
        ),
        _count(1, _MOST_BLOCKS),
    ),
    **dict.fromkeys(
        (
            "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads",
            "num_key_value_heads", "num_kv_heads", "n_head_kv",
            "hidden_size", "n_embd", "d_model", "intermediate_size", "ffn_dim", "n_inner",
            "vocab_size",
        ),
        _SIZE,
    ),
    **dict.fromkeys(("head_dim", "moe_intermediate_size", "sliding_window"), _OPTIONAL_SIZE),
    **dict.fromkeys(
        (
            "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
            "num_experts_per_tok",
        ),
        _count(0, _MOST_EXPERTS),
    ),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), _LENGTH),
    **dict.fromkeys(
        (
            "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon",
            "attn_logit_softcapping", "final_logit_softcapping",
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        ("rope_theta", "rope_local_base_freq", "partial_rotary_factor", "query_pre_attn_scalar"),
        _POSITIVE,
    ),
    **dict.fromkeys(("tie_word_embeddings", "attention_bias", "mlp_bias"), _SWITCH),
    **dict.fromkeys(("model_type", "hidden_act", "hidden_activation"), _NAME),
    **dict.fromkeys(("rope_scaling", "rope_parameters", "text_config"), _PART),
}  # fmt: skip
# Of rotary embeddings, at any depth: some have parameters for each type of layers.
_ROTARY: Mapping[str, _Wanted] = dict.fromkeys(
    (
        "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "attention_factor",
        "original_max_position_embeddings", "partial_rotary_factor", "beta_fast", "beta_slow",
        "short_factor", "long_factor",
    ),
    _POSITIVE,
)  # fmt: skip
_HEADS = (
    ("num_attention_heads", "num_key_value_heads"),
    ("n_head", "num_kv_heads"),
    ("n_head", "n_head_kv"),
    ("num_attention_heads", "num_kv_heads"),
)


def check_fields(
    path: Path, config: Mapping[str, Any], way_out: str = "take the file from the original model"
) -> None:
    """Refuse a config whose fields make no model. ``path`` and ``way_out`` are for errors.

    Lists are taken for values of each layer.

    Raises:
        SourceError: names the file, the field, its value, and what it must be.
    """
    for field, value, wanted in _asked(config, ""):
        for one in value if isinstance(value, list) else [value]:
            if one is not None and not wanted.holds(one):
                raise SourceError(f"{path}: {field} is {_short(one)}, not {wanted.said}; {way_out}")
    wrong = next(_uneven_heads(config, ""), None)
    if wrong is not None:
        raise SourceError(f"{path}: {wrong}; {way_out}")


def _asked(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, _Wanted]]:
    """Name, value and what is wanted, of every field in the tables; parts after their wholes."""
    for key, wanted in _FIELDS.items():
        if key in config:
            yield f"{prefix}{key}", config[key], wanted
    for key in ("rope_scaling", "rope_parameters"):
        if isinstance(config.get(key), Mapping):
            yield from _rotary(config[key], f"{prefix}{key}.")
    for key in PARTS:
        if isinstance(config.get(key), Mapping):
            yield from _asked(config[key], f"{prefix}{key}.")


def _rotary(parameters: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, _Wanted]]:
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _rotary(value, f"{prefix}{key}.")
        elif key in _ROTARY:
            yield f"{prefix}{key}", value, _ROTARY[key]


def _uneven_heads(config: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """What is wrong if a key head does not serve as many query heads as the others."""
    for field, of_keys in _HEADS:
        heads, key_heads = config.get(field), config.get(of_keys)
        if _whole(heads) and _whole(key_heads) and heads % key_heads:
            yield (
                f"{prefix}{field} is {heads}, no multiple of {prefix}{of_keys}, which is "
                f"{key_heads}"
            )
    for key in PARTS:
        if isinstance(config.get(key), Mapping):
            yield from _uneven_heads(config[key], f"{prefix}{key}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
