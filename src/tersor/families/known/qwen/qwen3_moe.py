"""Qwen 3 with experts. Blocks of ``mlp_only_layers`` are dense."""

from tersor.families.blocks import Blocks, SharedInput
from tersor.families.decoder import (
    ATTENTION as LINEARS,
)
from tersor.families.decoder import (
    NORMS_BEFORE,
    NORMS_OF_HEADS,
    Biases,
    Decoder,
    Experts,
    Windows,
)
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import experts, gguf
from tersor.families.usual.blocks import ATTENTION, CONTAINERS
from tersor.families.usual.defaults import DEFAULTS

QWEN3_MOE = Family(
    model_type="qwen3_moe",
    defaults={
        **DEFAULTS,
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "attention_bias": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
        "moe_intermediate_size": 768,
        "num_experts_per_tok": 8,
        "num_experts": 128,
        "norm_topk_prob": False,
    },
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
        fused_experts=experts.STACKS,
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
    decoder=Decoder(
        norms=NORMS_BEFORE | NORMS_OF_HEADS,
        biases=(Biases(LINEARS, "attention_bias"),),
        windows=Windows.ALL,
        window_switch="use_sliding_window",
        experts=Experts(
            names=experts.NAMES,
            stacks=experts.STACKS,
            count=("num_experts", "num_local_experts"),
            normalized="norm_topk_prob",
            layers=experts.QWEN_LAYERS,
        ),
    ),
)
