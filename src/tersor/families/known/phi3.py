"""Phi 3 and 4: one linear for queries, keys and values, one for gate and up."""

from tersor.families.blocks import Blocks, Rows, SharedInput
from tersor.families.decoder import Decoder, Windows
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import CONTAINERS

PHI3 = Family(
    model_type="phi3",
    defaults={
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "eos_token_id": 32000,
    },
    blocks=Blocks(
        containers=CONTAINERS,
        shared_inputs=(
            SharedInput(("self_attn.qkv_proj",), producer="input_layernorm"),
            SharedInput(("self_attn.o_proj",), producer="self_attn.qkv_proj", rows=Rows.V_OF_QKV),
            SharedInput(("mlp.gate_up_proj",), producer="post_attention_layernorm"),
            SharedInput(("mlp.down_proj",), producer="mlp.gate_up_proj", rows=Rows.UP_OF_GATE_UP),
        ),
        writers=("self_attn.o_proj", "mlp.down_proj"),
    ),
    gguf=Gguf(
        name="phi3",
        architecture="Phi3ForCausalLM",
        rules=(
            *gguf.OUTSIDE,
            *rules(
                gguf.LAYER,
                {
                    **gguf.NORMS,
                    "attn_qkv.weight": "self_attn.qkv_proj.weight",
                    "attn_output.weight": "self_attn.o_proj.weight",
                    "ffn_up.weight": "mlp.gate_up_proj.weight",
                    "ffn_down.weight": "mlp.down_proj.weight",
                },
            ),
        ),
        required=gguf.DECODER,
        optional={**gguf.GROUPED, "attention.sliding_window": "sliding_window"},
    ),
    decoder=Decoder(
        attention=("self_attn.qkv_proj", "self_attn.o_proj"),
        mlp=("mlp.gate_up_proj", "mlp.down_proj"),
        windows=Windows.ALL,
        turns_part=True,
        ropes=("default",),
    ),
)
