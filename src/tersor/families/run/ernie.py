"""ERNIE, by Baidu: neighbours turn together."""

from tersor.families.decoder import ATTENTION, GATE_UP_DOWN, MLP, Biases, Decoder, Experts, Sparse
from tersor.families.runnable import Runnable
from tersor.families.usual import experts
from tersor.families.usual.defaults import DEFAULTS

_ERNIE = {
    **DEFAULTS,
    "vocab_size": 103424,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "use_bias": False,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}

ERNIE4_5 = Runnable(
    "ernie4_5",
    defaults={
        **_ERNIE,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 18,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
    decoder=Decoder(biases=(Biases((*ATTENTION, *MLP), "use_bias"),), turns_pairs=True),
)
ERNIE4_5_MOE = Runnable(
    "ernie4_5_moe",
    defaults={
        **_ERNIE,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 28,
        "num_attention_heads": 20,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 1536,
        "moe_k": 6,
        "moe_num_experts": 64,
        "moe_num_shared_experts": 2,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": -1,
        "moe_layer_interval": 1,
        "moe_norm_min": 1e-12,
    },
    decoder=Decoder(
        turns_pairs=True,
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            count=("moe_num_experts", "num_experts"),
            chosen=("moe_k", "num_experts_per_tok"),
            least="moe_norm_min",
            correction="mlp.moe_statics.e_score_correction_bias",
            shared=tuple(f"mlp.shared_experts.{part}" for part in GATE_UP_DOWN),
            shared_count="moe_num_shared_experts",
            layers=Sparse(
                every="moe_layer_interval",
                first="moe_layer_start_index",
                last="moe_layer_end_index",
            ),
        ),
        refused={"use_bias": "experts with biases"},
    ),
)
