"""Granite, by IBM: multipliers of embeddings, attention, residuals and logits."""

from tersor.families.blocks import FusedExperts
from tersor.families.decoder import ATTENTION, GATE_UP_DOWN, MLP, Biases, Decoder, Experts
from tersor.families.runnable import Runnable
from tersor.families.usual.defaults import DEFAULTS

_GRANITE = {
    **DEFAULTS,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
    "attention_bias": False,
    "mlp_bias": False,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
    "eos_token_id": 2,
}
_NAMES = tuple(f"block_sparse_moe.experts.*.{part}" for part in GATE_UP_DOWN)

GRANITE = Runnable(
    "granite",
    defaults=_GRANITE,
    decoder=Decoder(
        biases=(Biases(ATTENTION, "attention_bias"), Biases(MLP, "mlp_bias")),
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        attention_multiplier="attention_multiplier",
        logits_divisor="logits_scaling",
    ),
)
GRANITEMOE = Runnable(
    "granitemoe",
    defaults={**_GRANITE, "num_local_experts": 8, "num_experts_per_tok": 2},
    decoder=Decoder(
        biases=(Biases(ATTENTION, "attention_bias"),),
        embedding_multiplier="embedding_multiplier",
        residual_multiplier="residual_multiplier",
        attention_multiplier="attention_multiplier",
        logits_divisor="logits_scaling",
        experts=Experts(
            names=_NAMES,
            stacks=(
                FusedExperts("block_sparse_moe.input_linear", _NAMES[:2]),
                FusedExperts("block_sparse_moe.output_linear", _NAMES[2:]),
            ),
            routers=("block_sparse_moe.router.layer",),
            count=("num_local_experts",),
            size="intermediate_size",
        ),
    ),
)
