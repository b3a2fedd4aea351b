"""What llama.cpp's converter did to each model family, as data, so that it can be undone.

A rule maps a GGUF tensor name to its Hugging Face name: ``{n}`` is the block, ``{e}`` the expert.
An ``{e}`` on the right only means that the GGUF stacks all experts into one tensor. ``fields`` maps
metadata keys (without the architecture's prefix) to keys of ``config.json``.

Facts from llama.cpp's ``convert_hf_to_gguf`` and ``llama-model``; checked against transformers'
own GGUF loader in the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Undo(Enum):
    """What has to be undone to get the Hugging Face tensor back."""

    NOTHING = "stored as it is"
    QUERY_ROWS = "rows of each query head interleaved for llama.cpp's RoPE"
    KEY_ROWS = "rows of each key head interleaved for llama.cpp's RoPE"
    ONE_ADDED = "norm weight stored as 1 + w"
    TRANSPOSED = "Conv1D weight (in, out) stored as (out, in)"


@dataclass(frozen=True)
class Rule:
    """Where one GGUF tensor goes, and what has to be undone on the way."""

    gguf: str
    hf: str
    undo: Undo = Undo.NOTHING


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        model_type: transformers' name of the config class.
        architecture: the class that ``config.json`` names.
        rules: one for each kind of tensor.
        required: metadata key → config key, must be present.
        optional: metadata key → config key, used if present.
        constants: config keys that llama.cpp hard-codes.
        rotary: whether positions are encoded by RoPE.
        scalar_from_width: block count of the one size whose attention divides by
            sqrt(hidden / heads) instead of sqrt(head_dim), for families whose config says so.
        attention_bias: the config key that says whether q, k, v and o have biases, if there is one.
    """

    model_type: str
    architecture: str
    rules: tuple[Rule, ...]
    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)
    rotary: bool = True
    scalar_from_width: int | None = None
    attention_bias: str | None = None


def _rules(
    prefix: str, pairs: Mapping[str, str], undo: Mapping[str, Undo] | None = None
) -> tuple[Rule, ...]:
    undo = undo or {}
    return tuple(
        Rule(f"blk.{{n}}.{gguf}", f"{prefix}.{hf}", undo.get(gguf, Undo.NOTHING))
        for gguf, hf in pairs.items()
    )


_LAYER = "model.layers.{n}"
_OUTSIDE = (
    Rule("token_embd.weight", "model.embed_tokens.weight"),
    Rule("output_norm.weight", "model.norm.weight"),
    Rule("output.weight", "lm_head.weight"),
)
_NORMS = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_ATTENTION = {
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
}
_QKV_BIASES = {
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.bias": "self_attn.v_proj.bias",
}
_HEAD_NORMS = {
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
}
_MLP = {
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
# llama.cpp rotates neighbouring pairs where transformers rotates halves, for this family only.
_LLAMA_ROWS = {
    "attn_q.weight": Undo.QUERY_ROWS,
    "attn_q.bias": Undo.QUERY_ROWS,
    "attn_k.weight": Undo.KEY_ROWS,
    "attn_k.bias": Undo.KEY_ROWS,
}
_LLAMA_ATTENTION = _rules(
    _LAYER,
    {**_NORMS, **_ATTENTION, **_QKV_BIASES, "attn_output.bias": "self_attn.o_proj.bias"},
    _LLAMA_ROWS,
)
_GEMMA_NORMS = {
    "attn_norm.weight": "input_layernorm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}
_GEMMA_OUTSIDE = (
    _OUTSIDE[0],
    Rule("output_norm.weight", "model.norm.weight", Undo.ONE_ADDED),
    _OUTSIDE[2],
)
_ONE_ADDED = dict.fromkeys((*_GEMMA_NORMS, *_HEAD_NORMS), Undo.ONE_ADDED)

_DECODER = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_GROUPED = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
_GEMMA = {
    **_GROUPED,
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}

_LLAMA = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    rules=(*_OUTSIDE, *_LLAMA_ATTENTION, *_rules(_LAYER, _MLP)),
    required=_DECODER,
    # Only this architecture's files are sure to rotate the whole head.
    optional={"rope.dimension_count": "head_dim", **_GROUPED},
    attention_bias="attention_bias",
)
_MIXTRAL = Family(
    model_type="mixtral",
    architecture="MixtralForCausalLM",
    rules=(
        *_OUTSIDE,
        *_LLAMA_ATTENTION,
        *_rules(
            f"{_LAYER}.block_sparse_moe",
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
        **_DECODER,
        "expert_count": "num_local_experts",
        "expert_used_count": "num_experts_per_tok",
    },
    optional={"rope.dimension_count": "head_dim", **_GROUPED},
)
_QWEN2 = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    rules=(*_OUTSIDE, *_rules(_LAYER, {**_NORMS, **_ATTENTION, **_QKV_BIASES, **_MLP})),
    required=_DECODER,
    optional=_GROUPED,
)
_QWEN3 = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    rules=(*_OUTSIDE, *_rules(_LAYER, {**_NORMS, **_ATTENTION, **_HEAD_NORMS, **_MLP})),
    required=_DECODER,
    optional=_GROUPED,
)
_QWEN3_MOE = Family(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    rules=(
        *_OUTSIDE,
        *_rules(_LAYER, {**_NORMS, **_ATTENTION, **_HEAD_NORMS}),
        *_rules(
            f"{_LAYER}.mlp",
            {
                "ffn_gate_inp.weight": "gate.weight",
                "ffn_gate_exps.weight": "experts.{e}.gate_proj.weight",
                "ffn_up_exps.weight": "experts.{e}.up_proj.weight",
                "ffn_down_exps.weight": "experts.{e}.down_proj.weight",
            },
        ),
    ),
    required={
        **_DECODER,
        "expert_count": "num_experts",
        "expert_used_count": "num_experts_per_tok",
        "expert_feed_forward_length": "moe_intermediate_size",
    },
    optional=_GROUPED,
    constants={"norm_topk_prob": True},
)
_GEMMA2 = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    rules=(*_GEMMA_OUTSIDE, *_rules(_LAYER, {**_GEMMA_NORMS, **_ATTENTION, **_MLP}, _ONE_ADDED)),
    required=_DECODER,
    optional=_GEMMA,
    scalar_from_width=46,
)
_GEMMA3 = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    rules=(
        *_GEMMA_OUTSIDE,
        *_rules(_LAYER, {**_GEMMA_NORMS, **_ATTENTION, **_HEAD_NORMS, **_MLP}, _ONE_ADDED),
    ),
    required=_DECODER,
    optional={**_GEMMA, "rope.freq_base_swa": "rope_local_base_freq"},
    constants={"rope_local_base_freq": 10000.0},
    scalar_from_width=62,
)
_PHI3 = Family(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    rules=(
        *_OUTSIDE,
        *_rules(
            _LAYER,
            {
                **_NORMS,
                "attn_qkv.weight": "self_attn.qkv_proj.weight",
                "attn_output.weight": "self_attn.o_proj.weight",
                "ffn_up.weight": "mlp.gate_up_proj.weight",
                "ffn_down.weight": "mlp.down_proj.weight",
            },
        ),
    ),
    required=_DECODER,
    optional={**_GROUPED, "attention.sliding_window": "sliding_window"},
)
_CONV1D = {
    "attn_qkv.weight": "attn.c_attn.weight",
    "attn_output.weight": "attn.c_proj.weight",
    "ffn_up.weight": "mlp.c_fc.weight",
    "ffn_down.weight": "mlp.c_proj.weight",
}
_GPT2 = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    rules=(
        Rule("token_embd.weight", "transformer.wte.weight"),
        Rule("position_embd.weight", "transformer.wpe.weight"),
        Rule("output_norm.weight", "transformer.ln_f.weight"),
        Rule("output_norm.bias", "transformer.ln_f.bias"),
        Rule("output.weight", "lm_head.weight"),
        *_rules("transformer.h.{n}", _CONV1D, dict.fromkeys(_CONV1D, Undo.TRANSPOSED)),
        *_rules(
            "transformer.h.{n}",
            {
                "attn_norm.weight": "ln_1.weight",
                "attn_norm.bias": "ln_1.bias",
                "attn_qkv.bias": "attn.c_attn.bias",
                "attn_output.bias": "attn.c_proj.bias",
                "ffn_norm.weight": "ln_2.weight",
                "ffn_norm.bias": "ln_2.bias",
                "ffn_up.bias": "mlp.c_fc.bias",
                "ffn_down.bias": "mlp.c_proj.bias",
            },
        ),
    ),
    required={
        "block_count": "n_layer",
        "context_length": "n_positions",
        "embedding_length": "n_embd",
        "feed_forward_length": "n_inner",
        "attention.head_count": "n_head",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    rotary=False,
)

# By llama.cpp's architecture and whether there are experts. Mistral files call themselves llama.
FAMILIES: Mapping[tuple[str, bool], Family] = {
    ("llama", False): _LLAMA,
    ("llama", True): _MIXTRAL,
    ("qwen2", False): _QWEN2,
    ("qwen3", False): _QWEN3,
    ("qwen3moe", True): _QWEN3_MOE,
    ("gemma2", False): _GEMMA2,
    ("gemma3", False): _GEMMA3,
    ("phi3", False): _PHI3,
    ("gpt2", False): _GPT2,
}

# Computed from the config by every reader, or read into the config (``gguf_config``): no weights.
DERIVED = frozenset(
    {
        "rope_freqs.weight",
        "rope_factors_long.weight",
        "rope_factors_short.weight",
        "blk.{n}.attn_rot_embd.weight",
    }
)
