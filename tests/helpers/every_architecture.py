"""Tiny random models of every causal language model that transformers lists, made from its configs.

A config is made with its class's defaults and every field that is a size shrunk to a small, odd
value; what a type needs besides stands in ``EXCEPTIONS``. Used by ``benchmarks/architectures.py``
and by tests.
"""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tiny_models import save_text, save_tokenizer

VOCABULARY = 131
LAYERS = 2
WINDOW = 24
LARGEST = 3_000_000

# Any field of these names is a size and gets this value.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size"), VOCABULARY),
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "model_dim", "word_embed_proj_dim",
         "embedding_size", "n_embed", "decoder_hidden_size", "emb_dim", "projection_dim"), 72),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "d_inner",
         "feed_forward_size", "dff", "block_ff_dim", "decoder_ffn_dim", "intermediate_size_mlp",
         "expert_ffn_hidden_size", "ff_dim", "dense_intermediate_size"), 152),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers", "max_layers"),
        LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads", "num_heads"), 4),
    **dict.fromkeys(
        ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"), 2),
    **dict.fromkeys(
        ("head_dim", "v_head_dim", "attention_head_dim", "hidden_size_per_head",
         "global_head_dim"), 18),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts",
         "num_moe_experts", "n_experts"), 5),
    **dict.fromkeys(
        ("num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token", "top_k_experts",
         "moe_top_k"), 2),
    **dict.fromkeys(
        ("moe_intermediate_size", "expert_intermediate_size", "shared_expert_intermediate_size",
         "shared_intermediate_size", "moe_shared_expert_intermediate_size",
         "moe_ffn_hidden_size"), 88),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "num_dense_layers"), 1),
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8,
    "qk_head_dim": 18, "rope_head_dim": 8,
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128, "n_ctx": 128,
    "max_sequence_length": 128, "decoder_start_token_id": 1,
    "sliding_window": 16, "attention_window": 16, "attention_window_size": 16, "local_window": 16,
    "hidden_size_per_layer_input": 8, "laurel_rank": 6,
    "mamba_d_state": 12, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_n_heads": 8,
    "mamba_d_head": 18, "mamba_n_groups": 1, "mamba_chunk_size": 16, "mamba_dt_rank": 6,
    "mamba_d_ssm": 144, "mamba_num_heads": 8, "mamba_head_dim": 18,
    "state_size": 12, "conv_kernel": 4, "n_groups": 1, "chunk_size": 16, "time_step_rank": 6,
    "ssm_state_size": 12, "lru_width": 72,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12,
    "linear_value_head_dim": 14, "linear_conv_kernel_dim": 4,
    "conv_L_cache": 3, "index_topk": 16, "index_head_dim": 8, "index_n_heads": 2,
    "image_size": 28, "patch_size": 14, "depth": 2, "out_hidden_size": 72, "spatial_merge_size": 1,
    "vision_output_dim": 72, "num_channels": 3,
    "num_nextn_predict_layers": 0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

# Half of a head, or another part of it, is turned: heads of 20, not of 18.
_WIDER = {"hidden_size": 80}
# Thirds of a head of 18 are turned by time, height and width.
_TURNED_IN_THREE = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [3, 3, 3]}
}
# Gate and up in one linear are whole panels of the engine's.
_WHOLE_PANELS = {"intermediate_size": 176}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "phi3": _WHOLE_PANELS,
    "glm": _WHOLE_PANELS,
    "glm4": _WHOLE_PANELS,
    "persimmon": _WIDER,
    "phi": _WIDER,
    "codegen": {"rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "mamba2": {"num_heads": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "dots3_note_text": {"num_key_value_heads": 4},
    "reformer": {"is_decoder": True},
    "prophetnet": {"num_decoder_attention_heads": 4, "num_encoder_attention_heads": 4},
    "roc_bert": {"pronunciation_vocab_size": 23, "shape_vocab_size": 23},
    "xmod": {"languages": ["en"], "default_language": "en"},
    "zaya": {"num_experts_per_tok": 1},
    "cpmant": {"prompt_types": 4, "prompt_length": 4, "dim_head": 18, "dim_ff": 152},
    "gemma3n_text": {
        "num_hidden_layers": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0, 0.0],
    },
    "inkling2_text": {"unpadded_vocab_size": VOCABULARY},
    "zamba": {"num_hidden_layers": 3},
    "bamba": {"attn_layer_indices": [1]},
    "qwen2_vl_text": _TURNED_IN_THREE,
    "qwen2_5_vl_text": _TURNED_IN_THREE,
    "glm4v_text": _TURNED_IN_THREE,
    "glm4v_moe_text": _TURNED_IN_THREE,
    "glm_ocr_text": _TURNED_IN_THREE,
    "falcon_h1": {"mamba_d_ssm": 144, "mamba_n_heads": 8, "mamba_d_head": 18},
}


def causal_types() -> list[str]:
    """Every ``model_type`` with a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name in CONFIG_MAPPING)


def multimodal_types() -> list[str]:
    """Every other ``model_type`` that reads images and text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    names = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) - set(causal_types())
    return sorted(name for name in names if name in CONFIG_MAPPING)


def auto_of(config: Any) -> Any:
    """The class that makes a model of text from a config, or of images and text."""
    causal = type(config) in AutoModelForCausalLM._model_mapping
    return AutoModelForCausalLM if causal else AutoModelForImageTextToText


def tiny_config(model_type: str, **changes: Any) -> Any:
    """A small config of a type."""
    return CONFIG_MAPPING[model_type](**{**_sizes(CONFIG_MAPPING[model_type]), **changes})


def _sizes(config_class: Any) -> dict[str, Any]:
    """Small values for the fields of a config class, and of the configs inside it."""
    fields = set(inspect.signature(config_class.__init__).parameters)
    fields |= set(getattr(config_class, "__dataclass_fields__", ()))
    known = fields | {*_defaults(config_class).to_dict(), *config_class.attribute_map}
    given = {name: value for name, value in SIZES.items() if name in known}
    if "qk_rope_head_dim" in known:  # latent attention: every head has keys of its own
        given |= {n: v for n, v in {"num_key_value_heads": 4, "head_dim": 8}.items() if n in known}
    if "layer_types" in fields:
        given |= _every_kind_of_layer(config_class)
    for name, inner in config_class.sub_configs.items():
        default = getattr(_defaults(config_class), name, None)
        kind = type(default) if inner.__name__ == "AutoConfig" else inner
        if default is not None or inner.__name__ != "AutoConfig":
            given[name] = kind(**_sizes(kind))
    return given | EXCEPTIONS.get(config_class.model_type, {})


@cache
def _defaults(config_class: Any) -> Any:
    return config_class()


def _every_kind_of_layer(config_class: Any) -> dict[str, Any]:
    """At least one layer of every kind that the defaults have."""
    kinds = list(dict.fromkeys(getattr(_defaults(config_class), "layer_types", None) or ()))
    if not kinds:
        return {}
    layers = max(LAYERS, len(kinds))
    return {"layer_types": (kinds * layers)[:layers], "num_hidden_layers": layers}


def tiny_model(model_type: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random float32 model of a type, in eval mode; activations stay near unit size."""
    config = tiny_config(model_type, **changes)
    with torch.device("meta"):
        size = sum(p.numel() for p in auto_of(config).from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size} parameters: some size of {model_type} is not known to be one")
    torch.manual_seed(seed)
    model: PreTrainedModel = auto_of(config).from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            elif "A_log" not in name and "dt_bias" not in name:
                parameter.add_(0.1 * noise)
    return model.float().eval()


def save_every(model_type: str, directory: Path, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Write a tiny model with a tokenizer, and a text beside its directory."""
    model = tiny_model(model_type, seed, **changes)
    model.save_pretrained(directory)
    save_tokenizer(directory)
    save_text(directory.with_name(f"{directory.name}.txt"), 9 * WINDOW)
    return model
