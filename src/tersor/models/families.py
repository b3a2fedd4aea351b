"""The tables. Each is held against transformers' own modules by ``tests/models``.

Two facts decide most lines. A scale passes through attention from v to the output projection,
because the softmax weights do not depend on v. A scale passes through a gated MLP from up to down,
because the gate is multiplied in after the non-linearity; through a plain MLP it passes only if
the activation is ReLU, the one with ``f(s·x) = s·f(x)`` for ``s > 0``.
"""

from types import MappingProxyType

from tersor.families.blocks import Family, FusedExperts, Requirement, Rows, SharedInput

_NOT_HOMOGENEOUS = "the activation between the two linears is not homogeneous: f(s·x) ≠ s·f(x)"

# A text model alone, its bare decoder, and the two spellings inside a multimodal checkpoint.
_LLAMA_CONTAINERS = (
    "model.layers",
    "layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
)

_ATTENTION = (
    SharedInput(
        consumers=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        producer="input_layernorm",
    ),
    SharedInput(("self_attn.o_proj",), producer="self_attn.v_proj", rows=Rows.V),
)


def _gated_mlp(norm: str) -> tuple[SharedInput, ...]:
    return (
        SharedInput(("mlp.gate_proj", "mlp.up_proj"), producer=norm),
        SharedInput(("mlp.down_proj",), producer="mlp.up_proj"),
    )


_LLAMA = Family(
    model_types=("llama", "mistral", "qwen2", "qwen3"),
    containers=_LLAMA_CONTAINERS,
    shared_inputs=(*_ATTENTION, *_gated_mlp("post_attention_layernorm")),
    writers=("self_attn.o_proj", "mlp.down_proj"),
    default_heads=32,
    tied_by_default=False,
)

_GEMMA = Family(
    # The norms after attention and MLP end in the residual stream, so they produce for nobody.
    model_types=("gemma2", "gemma3_text"),
    containers=_LLAMA_CONTAINERS,
    shared_inputs=(*_ATTENTION, *_gated_mlp("pre_feedforward_layernorm")),
    writers=("self_attn.o_proj", "mlp.down_proj"),
    default_heads=8,
    tied_by_default=True,
    norm_offset=1.0,
    sandwich=True,
)

_PHI3 = Family(
    model_types=("phi3",),
    containers=_LLAMA_CONTAINERS,
    shared_inputs=(
        SharedInput(("self_attn.qkv_proj",), producer="input_layernorm"),
        SharedInput(("self_attn.o_proj",), producer="self_attn.qkv_proj", rows=Rows.V_OF_QKV),
        SharedInput(("mlp.gate_up_proj",), producer="post_attention_layernorm"),
        SharedInput(("mlp.down_proj",), producer="mlp.gate_up_proj", rows=Rows.UP_OF_GATE_UP),
    ),
    writers=("self_attn.o_proj", "mlp.down_proj"),
    default_heads=32,
    tied_by_default=False,
)

_PRE_NORM = Requirement(
    "do_layer_norm_before",
    values=(True,),
    default=True,
    otherwise="the norm comes after the residual sum, so its output is the residual stream too",
)

_OPT = Family(
    model_types=("opt",),
    containers=("model.decoder.layers", "decoder.layers"),
    shared_inputs=(
        SharedInput(
            consumers=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            producer="self_attn_layer_norm",
            requires=_PRE_NORM,
        ),
        SharedInput(("self_attn.out_proj",), producer="self_attn.v_proj", rows=Rows.V),
        SharedInput(("fc1",), producer="final_layer_norm", requires=_PRE_NORM),
        SharedInput(
            ("fc2",),
            producer="fc1",
            requires=Requirement("activation_function", ("relu",), "relu", _NOT_HOMOGENEOUS),
        ),
    ),
    writers=("self_attn.out_proj", "fc2"),
    default_heads=12,
    tied_by_default=True,
    final_norm="final_layer_norm",
    positions="embed_positions",
    centred=True,
)

_GPT2 = Family(
    model_types=("gpt2",),
    containers=("transformer.h", "h"),
    shared_inputs=(
        SharedInput(("attn.c_attn",), producer="ln_1"),
        SharedInput(("attn.c_proj",), producer="attn.c_attn", rows=Rows.V_OF_QKV),
        SharedInput(("mlp.c_fc",), producer="ln_2"),
        SharedInput(
            ("mlp.c_proj",),
            producer="mlp.c_fc",
            requires=Requirement("activation_function", ("relu",), "gelu_new", _NOT_HOMOGENEOUS),
        ),
    ),
    writers=("attn.c_proj", "mlp.c_proj"),
    default_heads=12,
    tied_by_default=True,
    embedding="wte",
    final_norm="ln_f",
    heads_key="n_head",
    transposed=True,
    positions="wpe",
    centred=True,
)

_GPT_NEOX = Family(
    # With the parallel residual both norms read the block's input; each still has one reader.
    model_types=("gpt_neox",),
    containers=("gpt_neox.layers", "layers"),
    shared_inputs=(
        SharedInput(("attention.query_key_value",), producer="input_layernorm"),
        SharedInput(
            ("attention.dense",),
            producer="attention.query_key_value",
            rows=Rows.V_OF_EACH_HEAD,
        ),
        SharedInput(("mlp.dense_h_to_4h",), producer="post_attention_layernorm"),
        SharedInput(
            ("mlp.dense_4h_to_h",),
            producer="mlp.dense_h_to_4h",
            requires=Requirement("hidden_act", ("relu",), "gelu", _NOT_HOMOGENEOUS),
        ),
    ),
    writers=("attention.dense", "mlp.dense_4h_to_h"),
    default_heads=64,
    tied_by_default=False,
    embedding="embed_in",
    final_norm="final_layer_norm",
    # On disk the head is embed_out; transformers 5 calls it lm_head in memory.
    head=("embed_out", "lm_head"),
    centred=True,
)

_MIXTRAL = Family(
    model_types=("mixtral",),
    containers=_LLAMA_CONTAINERS,
    shared_inputs=(
        *_ATTENTION,
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
    default_heads=32,
    tied_by_default=False,
    fused_experts=(
        FusedExperts(
            "mlp.experts.gate_up_proj",
            ("block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3"),
        ),
        FusedExperts("mlp.experts.down_proj", ("block_sparse_moe.experts.*.w2",)),
    ),
    renames=(("mlp.gate", "block_sparse_moe.gate"),),
)

_QWEN3_MOE = Family(
    # Blocks of `mlp_only_layers` are dense. Dense and sparse readers of the norm share one entry,
    # so that whichever are present are scaled together.
    model_types=("qwen3_moe",),
    containers=_LLAMA_CONTAINERS,
    shared_inputs=(
        *_ATTENTION,
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
    default_heads=32,
    tied_by_default=False,
    fused_experts=(
        FusedExperts(
            "mlp.experts.gate_up_proj",
            ("mlp.experts.*.gate_proj", "mlp.experts.*.up_proj"),
        ),
        FusedExperts("mlp.experts.down_proj", ("mlp.experts.*.down_proj",)),
    ),
)

_TABLES = (_LLAMA, _GEMMA, _PHI3, _OPT, _GPT2, _GPT_NEOX, _MIXTRAL, _QWEN3_MOE)

FAMILIES = MappingProxyType({name: family for family in _TABLES for name in family.model_types})
"""``model_type`` of ``config.json`` → its table."""
