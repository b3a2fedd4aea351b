"""Mixtral: Mistral with experts."""

from tersor.families.blocks import Blocks, FusedExperts, SharedInput
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import ATTENTION, CONTAINERS

MIXTRAL = Family(
    model_type="mixtral",
    defaults={"num_attention_heads": 32, "tie_word_embeddings": False},
    blocks=Blocks(
        containers=CONTAINERS,
        shared_inputs=(
            *ATTENTION,
            SharedInput(
                consumers=("block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3"),
                producer="post_attention_layernorm",
                listeners=("block_sparse_moe.gate",),
            ),
            SharedInput(
                consumers=("block_sparse_moe.experts.*.w2",),
                producer="block_sparse_moe.experts.*.w3",
            ),
        ),
        writers=("self_attn.o_proj", "block_sparse_moe.experts.*.w2"),
        fused_experts=(
            FusedExperts(
                "mlp.experts.gate_up_proj",
                ("block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3"),
            ),
            FusedExperts("mlp.experts.down_proj", ("block_sparse_moe.experts.*.w2",)),
        ),
        renames=(("mlp.gate", "block_sparse_moe.gate"),),
    ),
    gguf=Gguf(
        name="llama",
        experts=True,
        architecture="MixtralForCausalLM",
        rules=(
            *gguf.OUTSIDE,
            *gguf.LLAMA_ATTENTION,
            *rules(
                f"{gguf.LAYER}.block_sparse_moe",
                {
                    "ffn_gate_inp.weight": "gate.weight",
                    "ffn_gate_exps.weight": "experts.{e}.w1.weight",
                    "ffn_down_exps.weight": "experts.{e}.w2.weight",
                    "ffn_up_exps.weight": "experts.{e}.w3.weight",
                    # Before 2024-04 every expert was a tensor of its own.
                    "ffn_gate.{e}.weight": "experts.{e}.w1.weight",
                    "ffn_down.{e}.weight": "experts.{e}.w2.weight",
                    "ffn_up.{e}.weight": "experts.{e}.w3.weight",
                },
            ),
        ),
        required={
            **gguf.DECODER,
            "expert_count": "num_local_experts",
            "expert_used_count": "num_experts_per_tok",
        },
        optional={"rope.dimension_count": "head_dim", **gguf.GROUPED},
    ),
)
