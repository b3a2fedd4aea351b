"""Mistral 7B and what is built like it."""

from tersor.families.decoder import Decoder, Windows
from tersor.families.family import Family
from tersor.families.known.llama import LLAMA
from tersor.families.usual.blocks import LLAMA_BLOCKS

MISTRAL = Family(
    model_type="mistral",
    defaults={
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": None,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "eos_token_id": 2,
    },
    blocks=LLAMA_BLOCKS,
    gguf=LLAMA.gguf,
    decoder=Decoder(windows=Windows.ALL, renamed={"layer_types": "ministral"}),
)
