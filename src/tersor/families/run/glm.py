"""GLM, by Zhipu: half of each head turns, by neighbours but in the mixture."""

from tersor.families.decoder import (
    GATE_UP_DOWN,
    NORMS_BEFORE,
    NORMS_OF_HEADS,
    QUERIES_KEYS_VALUES,
    Biases,
    Decoder,
    Experts,
    Sparse,
)
from tersor.families.runnable import Runnable
from tersor.families.usual import experts
from tersor.families.usual.defaults import DEFAULTS

_GLM = {
    **DEFAULTS,
    "vocab_size": 151552,
    "hidden_size": 4096,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 0.00000015625,
    "partial_rotary_factor": 0.5,
    "attention_bias": True,
    "eos_token_id": [151329, 151336, 151338],
}
_MLP = ("mlp.gate_up_proj", "mlp.down_proj")
_BIASES = (Biases(QUERIES_KEYS_VALUES, "attention_bias"),)

GLM = Runnable(
    "glm",
    defaults=_GLM,
    decoder=Decoder(mlp=_MLP, biases=_BIASES, turns_part=True, turns_pairs=True),
)
GLM4 = Runnable(
    "glm4",
    defaults=_GLM,
    decoder=Decoder(
        mlp=_MLP,
        norms=NORMS_BEFORE
        | {
            "attention_output_norm": "post_self_attn_layernorm",
            "mlp_output_norm": "post_mlp_layernorm",
        },
        biases=_BIASES,
        turns_part=True,
        turns_pairs=True,
    ),
)
GLM4_MOE = Runnable(
    "glm4_moe",
    defaults={
        **_GLM,
        "intermediate_size": 10944,
        "num_hidden_layers": 46,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "head_dim": None,
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "use_qk_norm": False,
        "eos_token_id": None,
    },
    decoder=Decoder(
        norms=NORMS_BEFORE | NORMS_OF_HEADS,
        head_norms_if="use_qk_norm",
        biases=_BIASES,
        turns_part=True,
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            count=("n_routed_experts", "num_local_experts"),
            scores="sigmoid",
            normalized="norm_topk_prob",
            scale="routed_scaling_factor",
            groups="n_group",
            chosen_groups="topk_group",
            correction="mlp.gate.e_score_correction_bias",
            shared=tuple(f"mlp.shared_experts.{part}" for part in GATE_UP_DOWN),
            shared_count="n_shared_experts",
            layers=Sparse(first="first_k_dense_replace"),
        ),
    ),
)
