"""Mixtral: Mistral with experts."""

from tersor.families.blocks import Blocks, FusedExperts, SharedInput
from tersor.families.decoder import Decoder, Experts, Windows
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import ATTENTION, CONTAINERS
from tersor.families.usual.defaults import DEFAULTS

_NAMES = tuple(f"block_sparse_moe.experts.*.{part}" for part in ("w1", "w3", "w2"))
_STACKS = (
    FusedExperts("mlp.experts.gate_up_proj", _NAMES[:2]),
    FusedExperts("mlp.experts.down_proj", _NAMES[2:]),
)

MIXTRAL = Family(
    model_type="mixtral",
    defaults={
        **DEFAULTS,
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "num_experts_per_tok": 2,
        "num_local_experts": 8,
        "eos_token_id": 2,
    },
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
        fused_experts=_STACKS,
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
    decoder=Decoder(
        windows=Windows.ALL,
        experts=Experts(
            names=_NAMES,
            stacks=_STACKS,
            routers=("block_sparse_moe.gate", "mlp.gate"),
            count=("num_local_experts", "num_experts"),
            size="intermediate_size",
        ),
    ),
)
