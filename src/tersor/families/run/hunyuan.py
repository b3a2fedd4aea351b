"""Hunyuan, by Tencent: queries and keys are normed after they turned."""

from tersor.families.decoder import (
    ATTENTION,
    GATE_UP_DOWN,
    NORMS_BEFORE,
    Biases,
    Decoder,
    Experts,
)
from tersor.families.runnable import Runnable
from tersor.families.usual import experts
from tersor.families.usual.defaults import DEFAULTS

_HUNYUAN = {
    **DEFAULTS,
    "vocab_size": 290943,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "eos_token_id": 2,
}
_NORMS = NORMS_BEFORE | {
    "query_norm": "self_attn.query_layernorm",
    "key_norm": "self_attn.key_layernorm",
}
_BIASES = (Biases(ATTENTION, "attention_bias"),)

HUNYUAN = Runnable(
    "hunyuan_v1_dense",
    defaults=_HUNYUAN,
    decoder=Decoder(norms=_NORMS, biases=_BIASES, turns_first=True),
)
HUNYUAN_MOE = Runnable(
    "hunyuan_v1_moe",
    defaults={**_HUNYUAN, "num_experts": 1, "moe_topk": 1},
    decoder=Decoder(
        norms=_NORMS,
        biases=_BIASES,
        turns_first=True,
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            routers=("mlp.gate.wg",),
            count=("num_experts", "num_local_experts"),
            chosen=("moe_topk", "num_experts_per_tok"),
            size="intermediate_size",
            shared=tuple(f"mlp.shared_mlp.{part}" for part in GATE_UP_DOWN),
        ),
    ),
)
