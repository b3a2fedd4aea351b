"""Llama 1 to 3."""

from tersor.families.decoder import ATTENTION, MLP, Biases, Decoder
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import LLAMA_BLOCKS

LLAMA = Family(
    model_type="llama",
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "eos_token_id": 2,
    },
    blocks=LLAMA_BLOCKS,
    gguf=Gguf(
        name="llama",
        architecture="LlamaForCausalLM",
        rules=(*gguf.OUTSIDE, *gguf.LLAMA_ATTENTION, *rules(gguf.LAYER, gguf.MLP)),
        required=gguf.DECODER,
        # Only this architecture's files are sure to rotate the whole head.
        optional={"rope.dimension_count": "head_dim", **gguf.GROUPED},
        attention_bias="attention_bias",
    ),
    decoder=Decoder(biases=(Biases(ATTENTION, "attention_bias"), Biases(MLP, "mlp_bias"))),
)
