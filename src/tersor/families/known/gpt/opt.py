"""OPT."""

from tersor.families.blocks import Blocks, Requirement, Rows, SharedInput
from tersor.families.family import Family
from tersor.families.usual.blocks import NOT_HOMOGENEOUS

_PRE_NORM = Requirement(
    "do_layer_norm_before",
    values=(True,),
    default=True,
    otherwise="the norm comes after the residual sum, so its output is the residual stream too",
)

OPT = Family(
    model_type="opt",
    defaults={"num_attention_heads": 12, "tie_word_embeddings": True},
    blocks=Blocks(
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
                requires=Requirement("activation_function", ("relu",), "relu", NOT_HOMOGENEOUS),
            ),
        ),
        writers=("self_attn.out_proj", "fc2"),
        final_norm="final_layer_norm",
        positions="embed_positions",
        centred=True,
    ),
)
