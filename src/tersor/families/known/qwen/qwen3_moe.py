"""Qwen 3 with experts. Blocks of ``mlp_only_layers`` are dense."""

from tersor.families.blocks import Blocks, FusedExperts, SharedInput
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import ATTENTION, CONTAINERS

QWEN3_MOE = Family(
    model_type="qwen3_moe",
    defaults={"num_attention_heads": 32, "tie_word_embeddings": False},
    blocks=Blocks(
        # Dense and sparse readers of the norm share one entry, so that whichever are present are
        # scaled together.
        containers=CONTAINERS,
        shared_inputs=(
            *ATTENTION,
            SharedInput(
                consumers=(
                    "mlp.gate_proj",
                    "mlp.up_proj",
                    "mlp.experts.*.gate_proj",
                    "mlp.experts.*.up_proj",
                ),
                producer="post_attention_layernorm",
                listeners=("mlp.gate",),
            ),
            SharedInput(("mlp.down_proj",), producer="mlp.up_proj"),
            SharedInput(("mlp.experts.*.down_proj",), producer="mlp.experts.*.up_proj"),
        ),
        writers=("self_attn.o_proj", "mlp.down_proj", "mlp.experts.*.down_proj"),
        fused_experts=(
            FusedExperts(
                "mlp.experts.gate_up_proj",
                ("mlp.experts.*.gate_proj", "mlp.experts.*.up_proj"),
            ),
            FusedExperts("mlp.experts.down_proj", ("mlp.experts.*.down_proj",)),
        ),
    ),
    gguf=Gguf(
        name="qwen3moe",
        experts=True,
        architecture="Qwen3MoeForCausalLM",
        rules=(
            *gguf.OUTSIDE,
            *rules(gguf.LAYER, {**gguf.NORMS, **gguf.ATTENTION, **gguf.HEAD_NORMS}),
            *rules(
                f"{gguf.LAYER}.mlp",
                {
                    "ffn_gate_inp.weight": "gate.weight",
                    "ffn_gate_exps.weight": "experts.{e}.gate_proj.weight",
                    "ffn_up_exps.weight": "experts.{e}.up_proj.weight",
                    "ffn_down_exps.weight": "experts.{e}.down_proj.weight",
                },
            ),
        ),
        required={
            **gguf.DECODER,
            "expert_count": "num_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "moe_intermediate_size",
        },
        optional=gguf.GROUPED,
        constants={"norm_topk_prob": True},
    ),
)
