"""A model's config → GGUF metadata: the tables of families, read the other way."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tersor.checkpoints.gguf.writing.rotary import Rotary, rotary_of
from tersor.errors import SchemeError
from tersor.families.decoder import Types, Windows
from tersor.families.family import Family
from tersor.families.gguf import Gguf
from tersor.families.registry import FAMILIES

_WAY_OUT = "write another format"
# The same field, as older and newer config classes call it.
_EXPERTS = ("num_experts", "num_local_experts")
# What a file says by other means: tensors, the tokenizer, rotary embeddings, windows.
_ELSEWHERE = frozenset(
    {
        *(
            "vocab_size",
            "tie_word_embeddings",
            "eos_token_id",
            "rope_theta",
            "rope_local_base_freq",
        ),
        *("num_key_value_heads", "head_dim", "query_pre_attn_scalar", "max_position_embeddings"),
        *("sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern"),
    }
)


def writable_family(model_type: str) -> tuple[Family, Gguf]:
    """The family of a model, and what its files are.

    Raises :class:`SchemeError` for one whose files are not known.
    """
    family = FAMILIES.get(model_type)
    if family is None or family.gguf is None:
        known = ", ".join(sorted(name for name, one in FAMILIES.items() if one.gguf is not None))
        raise SchemeError(
            f"tersor does not know the GGUF files of {model_type or 'such models'} (it knows those "
            f"of {known}); {_WAY_OUT}"
        )
    return family, family.gguf


def hyperparameters(config: Mapping[str, Any]) -> Rotary:
    """Metadata about a model without the architecture's prefix, and tensors that belong to it.

    Raises :class:`SchemeError` for a config with something that llama.cpp cannot be told.
    """
    family, gguf = writable_family(str(config.get("model_type", "")))
    known = {**family.defaults, **_by_both_names(config)}
    if gguf.rotary:
        heads = known["num_attention_heads"]
        known["num_key_value_heads"] = known.get("num_key_value_heads") or heads
        known["head_dim"] = known.get("head_dim") or known["hidden_size"] // heads
    elif known.get("n_inner") is None:
        known["n_inner"] = 4 * known["n_embd"]
    _refuse_other_code(known, family, gguf)
    window = _window(known, family)
    said = {key: known.get(name) for key, name in {**gguf.required, **gguf.optional}.items()}
    for key, name in gguf.required.items():
        if said[key] is None:
            raise SchemeError(f"config.json has no {name}, which GGUF needs; add it")
    if "attention.sliding_window" in gguf.optional:
        said["attention.sliding_window"] = window
    elif window is not None:
        # Nobody tells llama.cpp of a window here; up to it, seeing everything is the same.
        said["context_length"] = min(window, known["max_position_embeddings"])
    said["vocab_size"] = known.get("vocab_size")
    if not gguf.rotary:
        return Rotary(_present(said))
    said["attention.value_length"] = known["head_dim"]
    turns_part = family.decoder is not None and family.decoder.turns_part
    rotary = rotary_of(known, known["head_dim"], turns_part=turns_part)
    local = gguf.optional.keys() | {key for key in rotary.metadata if not key.endswith("_swa")}
    said |= {key: one for key, one in rotary.metadata.items() if key in local}
    return Rotary(_present(said), rotary.factors)


def refuse_lost(config: Mapping[str, Any], read: Mapping[str, Any], family: Family) -> None:
    """Hold what a file says of a model, read again, against the model's config.

    Raises :class:`SchemeError` naming the first field that it says otherwise.
    """
    config = _by_both_names(config)
    for name, default in family.defaults.items():
        meant, found = config.get(name, default), read.get(name, default)
        if name not in _ELSEWHERE and not _same(meant, found):
            raise SchemeError(
                f"llama.cpp computes {family.model_type} with {name} {found!r}, not {meant!r}; "
                f"{_WAY_OUT}"
            )


def _by_both_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Families and versions of transformers call the number of experts by one name or the other."""
    given = [config[name] for name in _EXPERTS if name in config]
    return {**config, **dict.fromkeys(_EXPERTS, given[0])} if given else dict(config)


def _same(one: Any, two: Any) -> bool:
    """Numbers as far as float32 tells them apart, which is what files have."""
    if any(isinstance(each, float) for each in (one, two)) and None not in (one, two):
        return bool(np.float32(one) == np.float32(two))
    # A list of no layers is as good as none.
    return bool(one == two or (one in (None, []) and two in (None, [])))


def _refuse_other_code(known: Mapping[str, Any], family: Family, gguf: Gguf) -> None:
    """Refuse what llama.cpp's code for the family does in one way only."""
    for name, value in gguf.constants.items():
        if name != "rope_local_base_freq" and not _same(known.get(name, value), value):
            raise SchemeError(
                f"llama.cpp computes {family.model_type} with {name} {value!r}, not "
                f"{known[name]!r}; {_WAY_OUT}"
            )
    if gguf.scalar_from_width is not None:
        width = known["hidden_size"] // known["num_attention_heads"]
        wide = known["num_hidden_layers"] == gguf.scalar_from_width
        scalar = width if wide else known["head_dim"]
        if known["query_pre_attn_scalar"] != scalar:
            raise SchemeError(
                f"llama.cpp divides attention of {family.model_type} by the root of {scalar}, not "
                f"of query_pre_attn_scalar, {known['query_pre_attn_scalar']}; {_WAY_OUT}"
            )


def _window(known: Mapping[str, Any], family: Family) -> int | None:
    """How many positions layers with a window see; ``None`` if there are none.

    Raises :class:`SchemeError` for other layers with one than llama.cpp has.
    """
    facts = family.decoder
    if facts is None or facts.windows is Windows.NONE:
        return None
    if facts.window_switch is not None and not known.get(facts.window_switch):
        return None
    window = known.get("sliding_window")
    if facts.windows is Windows.BY_TYPE and not _has_usual_types(known, family, facts.types):
        raise SchemeError(
            f"llama.cpp has windows in other layers of {family.model_type} than this model; "
            f"{_WAY_OUT}"
        )
    return int(window) if window else None


def _has_usual_types(known: Mapping[str, Any], family: Family, types: Types) -> bool:
    """Whether every so many layers one has no window, as in llama.cpp, if that is how it is."""
    every = types.full_every
    period = family.defaults[every] if isinstance(every, str) else every
    if period is None:
        return True
    given = known.get("layer_types")
    if given is None:
        return not isinstance(every, str) or bool(known[every] == period)
    full = [number % period == 0 for number in range(1, len(given) + 1)]
    return [one == "full_attention" for one in given] == full


def _present(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value is not None}
