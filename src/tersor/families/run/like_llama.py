"""Families that differ from Llama in little: SmolLM3, Seed-OSS, Ministral, Apertus."""

from tersor.families.decoder import (
    ATTENTION,
    MLP,
    NORMS_OF_HEADS,
    QUERIES_KEYS_VALUES,
    Biases,
    Decoder,
    Turned,
    Windows,
)
from tersor.families.runnable import Runnable
from tersor.families.usual.defaults import DEFAULTS

SMOLLM3 = Runnable(
    "smollm3",
    defaults={
        **DEFAULTS,
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_theta": 2000000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
        "tie_word_embeddings": True,
        "eos_token_id": 128001,
    },
    decoder=Decoder(
        biases=(Biases(ATTENTION, "attention_bias"), Biases(MLP, "mlp_bias")),
        turned=Turned.LISTED,
        refused={"use_sliding_window": "layers with a window"},
    ),
)
SEED_OSS = Runnable(
    "seed_oss",
    defaults={
        **DEFAULTS,
        "vocab_size": 155136,
        "hidden_size": 4096,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 524288,
        "attention_bias": True,
        "attention_out_bias": False,
        "mlp_bias": False,
        "eos_token_id": 2,
    },
    decoder=Decoder(
        biases=(
            Biases(QUERIES_KEYS_VALUES, "attention_bias"),
            Biases(("self_attn.o_proj",), "attention_out_bias"),
            Biases(MLP, "mlp_bias"),
        ),
    ),
)
MINISTRAL = Runnable(
    "ministral",
    defaults={
        **DEFAULTS,
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "eos_token_id": 2,
    },
    decoder=Decoder(windows=Windows.BY_TYPE),
)
_APERTUS_MLP = ("mlp.up_proj", "mlp.down_proj")
APERTUS = Runnable(
    "apertus",
    defaults={
        **DEFAULTS,
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "hidden_act": "xielu",
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-5,
        "rope_theta": 12000000.0,
        "attention_bias": False,
        "eos_token_id": 2,
    },
    decoder=Decoder(
        mlp=_APERTUS_MLP,
        gated=False,
        norms={
            "attention_norm": "attention_layernorm",
            "mlp_norm": "feedforward_layernorm",
            **NORMS_OF_HEADS,
        },
        biases=(Biases(ATTENTION, "attention_bias"),),
    ),
)
