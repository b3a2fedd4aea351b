"""Names of tensors and metadata that several families have in GGUF files."""

from tersor.families.gguf import Rule, Undo, rules

LAYER = "model.layers.{n}"
OUTSIDE = (
    Rule("token_embd.weight", "model.embed_tokens.weight"),
    Rule("output_norm.weight", "model.norm.weight"),
    Rule("output.weight", "lm_head.weight"),
)
NORMS = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
ATTENTION = {
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
}
QKV_BIASES = {
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.bias": "self_attn.v_proj.bias",
}
HEAD_NORMS = {
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
}
MLP = {
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
# llama.cpp rotates neighbouring pairs where transformers rotates halves, for this family only.
LLAMA_ROWS = {
    "attn_q.weight": Undo.QUERY_ROWS,
    "attn_q.bias": Undo.QUERY_ROWS,
    "attn_k.weight": Undo.KEY_ROWS,
    "attn_k.bias": Undo.KEY_ROWS,
}
LLAMA_ATTENTION = rules(
    LAYER,
    {**NORMS, **ATTENTION, **QKV_BIASES, "attn_output.bias": "self_attn.o_proj.bias"},
    LLAMA_ROWS,
)
GEMMA_NORMS = {
    "attn_norm.weight": "input_layernorm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}
GEMMA_OUTSIDE = (
    OUTSIDE[0],
    Rule("output_norm.weight", "model.norm.weight", Undo.ONE_ADDED),
    OUTSIDE[2],
)
ONE_ADDED = dict.fromkeys((*GEMMA_NORMS, *HEAD_NORMS), Undo.ONE_ADDED)

DECODER = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
GROUPED = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
GEMMA = {
    **GROUPED,
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
