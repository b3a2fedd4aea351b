"""The text part of Gemma 3: norms of queries and keys, rotary embeddings of two kinds."""

from tersor.families.decoder import (
    ATTENTION,
    NORMS_AROUND,
    NORMS_OF_HEADS,
    Biases,
    Decoder,
    Types,
    Windows,
)
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import GEMMA_BLOCKS

GEMMA3 = Family(
    model_type="gemma3_text",
    defaults={
        "vocab_size": 262208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "final_logit_softcapping": None,
        "tie_word_embeddings": True,
        "eos_token_id": 1,
    },
    blocks=GEMMA_BLOCKS,
    gguf=Gguf(
        name="gemma3",
        architecture="Gemma3ForCausalLM",
        rules=(
            *gguf.GEMMA_OUTSIDE,
            *rules(
                gguf.LAYER,
                {**gguf.GEMMA_NORMS, **gguf.ATTENTION, **gguf.HEAD_NORMS, **gguf.MLP},
                gguf.ONE_ADDED,
            ),
        ),
        required=gguf.DECODER,
        optional={**gguf.GEMMA, "rope.freq_base_swa": "rope_local_base_freq"},
        constants={"rope_local_base_freq": 10000.0},
        scalar_from_width=62,
    ),
    decoder=Decoder(
        norm_offset=1.0,
        norms=NORMS_AROUND | NORMS_OF_HEADS,
        activation="hidden_activation",
        biases=(Biases(ATTENTION, "attention_bias"),),
        windows=Windows.BY_TYPE,
        types=Types(full_every="sliding_window_pattern"),
        query_scalar="query_pre_attn_scalar",
        # Its modules keep attn_logit_softcapping but do not apply it.
        final_cap="final_logit_softcapping",
        scaled_embedding=True,
        ropes_by_type=True,
        refused={"use_bidirectional_attention": "attention in both directions"},
    ),
)
