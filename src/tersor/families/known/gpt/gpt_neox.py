"""GPT-NeoX and Pythia."""

from tersor.families.blocks import Blocks, Requirement, Rows, SharedInput
from tersor.families.decoder import Biases, Decoder
from tersor.families.family import Family
from tersor.families.usual.blocks import NOT_HOMOGENEOUS
from tersor.families.usual.defaults import DEFAULTS

_ATTENTION = ("attention.query_key_value", "attention.dense")
_MLP = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")

GPT_NEOX = Family(
    model_type="gpt_neox",
    defaults={
        **DEFAULTS,
        "vocab_size": 50432,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "hidden_act": "gelu",
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "use_parallel_residual": True,
        "rotary_emb_base": 10000.0,
        "rotary_pct": 0.25,
        "attention_bias": True,
        "eos_token_id": 2,
    },
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
    decoder=Decoder(
        attention=_ATTENTION,
        mlp=_MLP,
        gated=False,
        heads_fused=True,
        head_size=None,
        epsilon="layer_norm_eps",
        centred=True,
        norm_biases=True,
        biases=(Biases(_ATTENTION, "attention_bias"), Biases(_MLP)),
        parallel="use_parallel_residual",
        theta="rotary_emb_base",
        turned_part="rotary_pct",
        turns_part=True,
        embedding="embed_in",
        final_norm="final_layer_norm",
        heads=("embed_out", "lm_head"),
    ),
)
