"""Qwen, by Alibaba: what came between 2 and 3."""

from tersor.families.decoder import GATE_UP_DOWN, QUERIES_KEYS_VALUES, Biases, Decoder, Experts
from tersor.families.runnable import Runnable
from tersor.families.usual import experts
from tersor.families.usual.defaults import DEFAULTS

QWEN2_MOE = Runnable(
    "qwen2_moe",
    defaults={
        **DEFAULTS,
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 32768,
        "qkv_bias": True,
        "use_sliding_window": False,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "num_experts_per_tok": 4,
        "num_experts": 60,
        "norm_topk_prob": False,
    },
    decoder=Decoder(
        biases=(Biases(QUERIES_KEYS_VALUES, "qkv_bias"),),
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            normalized="norm_topk_prob",
            shared=tuple(f"mlp.shared_expert.{part}" for part in GATE_UP_DOWN),
            shared_size="shared_expert_intermediate_size",
            shared_gate="mlp.shared_expert_gate",
            layers=experts.QWEN_LAYERS,
        ),
        refused={"use_sliding_window": "layers with a window"},
    ),
)
