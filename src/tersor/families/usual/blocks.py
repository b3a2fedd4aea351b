"""Blocks of Llama and of those like it.

Two facts decide most lines. A scale passes through attention from v to the output projection,
because the softmax weights do not depend on v. A scale passes through a gated MLP from up to down,
because the gate is multiplied in after the non-linearity; through a plain MLP it passes only if
the activation is ReLU, the one with ``f(s·x) = s·f(x)`` for ``s > 0``.
"""

from tersor.families.blocks import Blocks, Rows, SharedInput

NOT_HOMOGENEOUS = "the activation between the two linears is not homogeneous: f(s·x) ≠ s·f(x)"

# A text model alone, its bare decoder, and the two spellings inside a multimodal checkpoint.
CONTAINERS = (
    "model.layers",
    "layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
)

ATTENTION = (
    SharedInput(
        consumers=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        producer="input_layernorm",
    ),
    SharedInput(("self_attn.o_proj",), producer="self_attn.v_proj", rows=Rows.V),
)


def gated_mlp(norm: str) -> tuple[SharedInput, ...]:
    """An MLP that reads what ``norm`` gives."""
    return (
        SharedInput(("mlp.gate_proj", "mlp.up_proj"), producer=norm),
        SharedInput(("mlp.down_proj",), producer="mlp.up_proj"),
    )


LLAMA_BLOCKS = Blocks(
    containers=CONTAINERS,
    shared_inputs=(*ATTENTION, *gated_mlp("post_attention_layernorm")),
    writers=("self_attn.o_proj", "mlp.down_proj"),
)

GEMMA_BLOCKS = Blocks(
    # The norms after attention and MLP end in the residual stream, so they produce for nobody.
    containers=CONTAINERS,
    shared_inputs=(*ATTENTION, *gated_mlp("pre_feedforward_layernorm")),
    writers=("self_attn.o_proj", "mlp.down_proj"),
    norm_offset=1.0,
    sandwich=True,
)
