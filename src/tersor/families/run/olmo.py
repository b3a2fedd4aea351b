"""OLMo, by Ai2: norms of all queries and keys at once."""

from tersor.families.decoder import (
    ATTENTION,
    NORMS_AFTER,
    NORMS_BEFORE,
    NORMS_OF_HEADS,
    Biases,
    Decoder,
    Experts,
    Spans,
    Types,
    Windows,
)
from tersor.families.runnable import Runnable
from tersor.families.usual import experts
from tersor.families.usual.defaults import DEFAULTS

OLMOE = Runnable(
    "olmoe",
    defaults={
        **DEFAULTS,
        "vocab_size": 50304,
        "hidden_size": 2048,
        "intermediate_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
        "clip_qkv": None,
        "num_experts_per_tok": 8,
        "num_experts": 64,
        "norm_topk_prob": False,
        "eos_token_id": 50279,
    },
    decoder=Decoder(
        norms=NORMS_BEFORE | NORMS_OF_HEADS,
        spans=Spans.ALL,
        biases=(Biases(ATTENTION, "attention_bias"),),
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            count=("num_experts", "num_local_experts"),
            size="intermediate_size",
            normalized="norm_topk_prob",
        ),
        refused={"clip_qkv": "queries, keys and values that are clipped"},
    ),
)
_OLMO = {
    **DEFAULTS,
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "eos_token_id": 50279,
}
OLMO2 = Runnable(
    "olmo2",
    defaults=_OLMO,
    decoder=Decoder(
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        spans=Spans.ALL,
        biases=(Biases(ATTENTION, "attention_bias"),),
    ),
)
OLMO3 = Runnable(
    "olmo3",
    defaults={**_OLMO, "rope_theta": 500000.0, "sliding_window": 4096},
    decoder=Decoder(
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        spans=Spans.ALL,
        biases=(Biases(ATTENTION, "attention_bias"),),
        windows=Windows.BY_TYPE,
        types=Types(full_every=4),
        ropes_by_type=True,
        local_theta="rope_theta",
    ),
)
