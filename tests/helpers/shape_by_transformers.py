"""The facts of a decoder as transformers' config class and modules have them.

The reference of ``decoder_plan``, which reads ``config.json`` alone. It takes only what the engine
runs; a refusal of the engine is not its matter.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

GEMMA = ("gemma2", "gemma3_text")


def config_of(fields: Mapping[str, Any], directory: Path) -> Any:
    """transformers' config of a ``config.json`` with such content."""
    (directory / "config.json").write_text(json.dumps(fields))
    return AutoConfig.from_pretrained(directory)


def facts(whole: Any) -> dict[str, Any]:
    """Everything in a ``DecoderPlan`` by name, ``ropes`` as pairs of tensor and scale.

    What all layers have in common stands there once.
    """
    config = getattr(whole, "text_config", whole)
    family = config.model_type
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    gemma = family in GEMMA
    kinds = _layer_types(config)
    names = sorted(set(kinds)) if family == "gemma3_text" else [""]
    module = _class(config, "RotaryEmbedding")(config)
    layer = _layer(config)
    prefixes = [f"{name}_" if name else "" for name in names]
    return {
        "hidden": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": heads,
        "key_heads": config.num_key_value_heads,
        "head_size": size,
        "mlp_size": config.intermediate_size,
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "epsilon": config.rms_norm_eps,
        "query_scale": (config.query_pre_attn_scalar if gemma else size) ** -0.5,
        "attention_cap": (config.attn_logit_softcapping or 0.0) if family == "gemma2" else 0.0,
        "final_cap": (config.final_logit_softcapping or 0.0) if gemma else 0.0,
        "embedding_scale": config.hidden_size**0.5 if gemma else 1.0,
        "activation": {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}[
            config.hidden_activation if gemma else config.hidden_act
        ],
        "norm_offset": 1.0 if gemma else 0.0,
        "linears": {name.removesuffix(".weight") for name in layer if _is_linear(name)},
        "norms": {name.removesuffix(".weight") for name in layer if "norm.weight" in name},
        "ropes": [
            (getattr(module, f"{prefix}inv_freq"), getattr(module, f"{prefix}attention_scaling"))
            for prefix in prefixes
        ],
        "layer_ropes": tuple(names.index(kind) if len(names) > 1 else 0 for kind in kinds),
        "windows": tuple(
            config.sliding_window if kind == "sliding_attention" else 0 for kind in kinds
        ),
        "biased": frozenset(name.removesuffix(".bias") for name in layer if name.endswith(".bias")),
        "tied": bool(whole.tie_word_embeddings),
        "ends": config.eos_token_id,
    }


def _layer_types(config: Any) -> list[str]:
    if config.model_type in ("qwen2", "qwen3", *GEMMA):
        return list(config.layer_types)
    windows = config.model_type in ("mistral", "phi3") and config.sliding_window is not None
    return ["sliding_attention" if windows else "full_attention"] * config.num_hidden_layers


def _is_linear(name: str) -> bool:
    return name.endswith("proj.weight")


def _layer(config: Any) -> set[str]:
    """Names of the parameters of a layer."""
    with torch.device("meta"):
        return {name for name, _ in _class(config, "DecoderLayer")(config, 0).named_parameters()}


def _class(config: Any, ending: str) -> Any:
    code = vars(sys.modules[MODEL_MAPPING[type(config)].__module__])
    (name,) = {name for name in code if name.endswith(ending)}
    return code[name]
