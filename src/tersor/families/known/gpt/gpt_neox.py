"""GPT-NeoX and Pythia."""

from tersor.families.blocks import Blocks, Requirement, Rows, SharedInput
from tersor.families.family import Family
from tersor.families.usual.blocks import NOT_HOMOGENEOUS

GPT_NEOX = Family(
    model_type="gpt_neox",
    defaults={"num_attention_heads": 64, "tie_word_embeddings": False},
    blocks=Blocks(
        # With the parallel residual both norms read the block's input; each still has one reader.
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
                requires=Requirement("hidden_act", ("relu",), "gelu", NOT_HOMOGENEOUS),
            ),
        ),
        writers=("attention.dense", "mlp.dense_4h_to_h"),
        embedding="embed_in",
        final_norm="final_layer_norm",
        # On disk the head is embed_out; transformers 5 calls it lm_head in memory.
        head=("embed_out", "lm_head"),
        centred=True,
    ),
)
