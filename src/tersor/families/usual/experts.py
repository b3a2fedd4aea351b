"""Experts as many families have them."""

from tersor.families.blocks import FusedExperts
from tersor.families.decoder import GATE_UP_DOWN, Sparse

NAMES = tuple(f"mlp.experts.*.{part}" for part in GATE_UP_DOWN)
STACKS = (
    FusedExperts("mlp.experts.gate_up_proj", NAMES[:2]),
    FusedExperts("mlp.experts.down_proj", NAMES[2:]),
)
QWEN_LAYERS = Sparse(dense="mlp_only_layers", every="decoder_sparse_step")
