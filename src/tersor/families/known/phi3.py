"""Phi 3 and 4: one linear for queries, keys and values, one for gate and up."""

from tersor.families.decoder import Decoder, Windows
from tersor.families.family import Family

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
    decoder=Decoder(windows=Windows.ALL, turns_part=True, ropes=("default",)),
)
