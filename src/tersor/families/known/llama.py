"""Llama 1 to 3."""

from tersor.families.decoder import ATTENTION, MLP, Biases, Decoder
from tersor.families.family import Family

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
    decoder=Decoder(biases=(Biases(ATTENTION, "attention_bias"), Biases(MLP, "mlp_bias"))),
)
