"""Fields of ``config.json`` by the names that they had before transformers 5 as well.

Engines with a reader of their own (mistral.rs, mlx-lm, older vLLM and transformers) know the old
names alone, and take a default where there is none: other rotary embeddings, with no error.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tersor.checkpoints.huggingface.config_fields import PARTS

_FULL, _SLIDING = "full_attention", "sliding_attention"
# Kinds that no old reader knows, and those that the oldest readers know by ``type``.
_NO_SCALING = ("default", "axial", "proportional")
_TYPED = ("linear", "dynamic", "yarn", "longrope")
_EXPERTS = {"num_local_experts": "num_experts"}
_RENAMED: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text"), _EXPERTS),
        "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
        "gemma3_text": {"_sliding_window_pattern": "sliding_window_pattern"},
    }
)
"""By ``model_type``: what a field of today was called."""


def with_older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the old names beside the new ones; what is there already stays as it is."""
    parts = {
        key: with_older_names(value)
        for key, value in config.items()
        if key in PARTS and isinstance(value, Mapping)
    }
    found = {**_rotary(config.get("rope_parameters")), **config, **parts}
    if "dtype" in config:
        found.setdefault("torch_dtype", config["dtype"])
    for new, old in _RENAMED.get(str(config.get("model_type")), {}).items():
        if new in found:
            found.setdefault(old, found[new])
    return dict(sorted(found.items())) if list(config) == sorted(config) else found


def _rotary(parameters: Any) -> dict[str, Any]:
    """``rope_theta``, ``rope_scaling`` and the like of ``rope_parameters``, flat or by layers."""
    if not isinstance(parameters, Mapping):
        return {}
    if not {_FULL, _SLIDING} & parameters.keys():
        return _flat(parameters)
    full, sliding = parameters.get(_FULL), parameters.get(_SLIDING)
    found = _flat(full) if isinstance(full, Mapping) else {}
    found.pop("partial_rotary_factor", None)
    if isinstance(sliding, Mapping) and "rope_theta" in sliding:
        found["rope_local_base_freq"] = sliding["rope_theta"]
    return found


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("rope_theta", "partial_rotary_factor")
    found = {key: parameters[key] for key in kept if key in parameters}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in _NO_SCALING:
        found["rope_scaling"] = {k: v for k, v in parameters.items() if k not in kept}
        if kind in _TYPED:
            found["rope_scaling"]["type"] = kind
    return found
