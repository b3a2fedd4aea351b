"""GPT-2: linears stored ``(in, out)``."""

from tersor.families.blocks import Blocks, Requirement, Rows, SharedInput
from tersor.families.family import Family
from tersor.families.gguf import Gguf, Rule, Undo, rules
from tersor.families.usual.blocks import NOT_HOMOGENEOUS

_CONV1D = {
    "attn_qkv.weight": "attn.c_attn.weight",
    "attn_output.weight": "attn.c_proj.weight",
    "ffn_up.weight": "mlp.c_fc.weight",
    "ffn_down.weight": "mlp.c_proj.weight",
}
GPT2 = Family(
    model_type="gpt2",
    defaults={"n_head": 12, "tie_word_embeddings": True},
    blocks=Blocks(
        containers=("transformer.h", "h"),
        shared_inputs=(
            SharedInput(("attn.c_attn",), producer="ln_1"),
            SharedInput(("attn.c_proj",), producer="attn.c_attn", rows=Rows.V_OF_QKV),
            SharedInput(("mlp.c_fc",), producer="ln_2"),
            SharedInput(
                ("mlp.c_proj",),
                producer="mlp.c_fc",
                requires=Requirement("activation_function", ("relu",), "gelu_new", NOT_HOMOGENEOUS),
            ),
        ),
        writers=("attn.c_proj", "mlp.c_proj"),
        embedding="wte",
        final_norm="ln_f",
        heads_key="n_head",
        transposed=True,
        positions="wpe",
        centred=True,
    ),
    gguf=Gguf(
        name="gpt2",
        architecture="GPT2LMHeadModel",
        rules=(
            Rule("token_embd.weight", "transformer.wte.weight"),
            Rule("position_embd.weight", "transformer.wpe.weight"),
            Rule("output_norm.weight", "transformer.ln_f.weight"),
            Rule("output_norm.bias", "transformer.ln_f.bias"),
            Rule("output.weight", "lm_head.weight"),
            *rules("transformer.h.{n}", _CONV1D, dict.fromkeys(_CONV1D, Undo.TRANSPOSED)),
            *rules(
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
    ),
)
