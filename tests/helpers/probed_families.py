"""Tiny random models of families without a table, for what is found of them by numbers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tiny_models import randomized, save_tokenizer

VOCABULARY = 131
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 120,
    "intermediate_size": 152,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_HEAD = {"head_dim": 18}
_MULTIPLIERS = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.2,
}
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 14,
    "layer_types": ["linear_attention", "full_attention"],
}
_MOE = {"moe_intermediate_size": 88, "num_experts_per_tok": 2}

FAMILIES: dict[str, dict[str, Any]] = {
    "ministral": {**_HEAD, "layer_types": ["full_attention", "sliding_attention"]},
    "ministral3": _HEAD,
    "smollm3": {},
    "granite": _MULTIPLIERS,
    "glm": _HEAD,
    "glm4": _HEAD,
    "ernie4_5": _HEAD,
    "seed_oss": _HEAD,
    "exaone4": {"layer_types": ["full_attention", "sliding_attention"]},
    "hunyuan_v1_dense": _HEAD,
    "olmo2": {},
    "olmo3": {"layer_types": ["full_attention", "sliding_attention"]},
    "starcoder2": {},
    "stablelm": {"partial_rotary_factor": 0.5},
    "cohere2": {"layer_types": ["full_attention", "sliding_attention"]},
    "nemotron": {},
    "apertus": {},
    "qwen3_5_text": {**_HEAD, **_DELTA},
    "qwen2_moe": {**_MOE, "num_experts": 4, "shared_expert_intermediate_size": 56},
    "glm4_moe": {
        **_MOE,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}

# Looked at by tests of their own.
OTHERS: dict[str, dict[str, Any]] = {
    "deepseek_v3": {
        **_MOE,
        "num_key_value_heads": 6,
        "q_lora_rank": 24,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 8,
        "v_head_dim": 18,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gpt_oss": {**_HEAD, "num_local_experts": 4, "num_experts_per_tok": 2},
}


def dtype_of(family: str) -> torch.dtype:
    """Each family in one of the types of published checkpoints, all three in turn."""
    return _DTYPES[[*FAMILIES, *OTHERS].index(family) % 3]


def save_probed(family: str, directory: Path, **changes: Any) -> PreTrainedModel:
    """Write a random model with a tokenizer; returns it as it is stored, computed in fp32."""
    config = CONFIG_MAPPING[family](**{**_COMMON, **{**FAMILIES, **OTHERS}[family], **changes})
    torch.manual_seed(0)
    model = randomized(AutoModelForCausalLM.from_config(config, attn_implementation="eager"))
    model.to(dtype_of(family)).save_pretrained(directory)
    save_tokenizer(directory)
    return reloaded(directory)


def reloaded(directory: Path) -> PreTrainedModel:
    """What transformers makes of a directory, in fp32."""
    return AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
