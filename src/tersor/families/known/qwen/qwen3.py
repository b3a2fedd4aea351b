"""Qwen 3: norms of queries and keys."""

from tersor.families.decoder import (
    ATTENTION,
    NORMS_BEFORE,
    NORMS_OF_HEADS,
    Biases,
    Decoder,
    Types,
    Windows,
)
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import LLAMA_BLOCKS

QWEN3 = Family(
    model_type="qwen3",
    defaults={
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "use_sliding_window": False,
        "sliding_window": 4096,
        "max_window_layers": 28,
        "tie_word_embeddings": False,
        "eos_token_id": None,
    },
    blocks=LLAMA_BLOCKS,
    gguf=Gguf(
        name="qwen3",
        architecture="Qwen3ForCausalLM",
        rules=(
            *gguf.OUTSIDE,
            *rules(gguf.LAYER, {**gguf.NORMS, **gguf.ATTENTION, **gguf.HEAD_NORMS, **gguf.MLP}),
        ),
        required=gguf.DECODER,
        optional=gguf.GROUPED,
    ),
    decoder=Decoder(
        norms=NORMS_BEFORE | NORMS_OF_HEADS,
        biases=(Biases(ATTENTION, "attention_bias"),),
        windows=Windows.BY_TYPE,
        types=Types(windows_from="max_window_layers"),
        window_switch="use_sliding_window",
    ),
)
