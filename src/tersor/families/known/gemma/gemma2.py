"""Gemma 2: norms before and after, soft caps, a window in every other layer."""

from tersor.families.decoder import ATTENTION, NORMS_AROUND, Biases, Decoder, Types, Windows
from tersor.families.family import Family
from tersor.families.gguf import Gguf, rules
from tersor.families.usual import gguf
from tersor.families.usual.blocks import GEMMA_BLOCKS

GEMMA2 = Family(
    model_type="gemma2",
    defaults={
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
        "eos_token_id": 1,
    },
    blocks=GEMMA_BLOCKS,
    gguf=Gguf(
        name="gemma2",
        architecture="Gemma2ForCausalLM",
        rules=(
            *gguf.GEMMA_OUTSIDE,
            *rules(gguf.LAYER, {**gguf.GEMMA_NORMS, **gguf.ATTENTION, **gguf.MLP}, gguf.ONE_ADDED),
        ),
        required=gguf.DECODER,
        optional=gguf.GEMMA,
        scalar_from_width=46,
    ),
    decoder=Decoder(
        norm_offset=1.0,
        norms=NORMS_AROUND,
        activation="hidden_activation",
        biases=(Biases(ATTENTION, "attention_bias"),),
        windows=Windows.BY_TYPE,
        types=Types(full_every=2),
        query_scalar="query_pre_attn_scalar",
        attention_cap="attn_logit_softcapping",
        final_cap="final_logit_softcapping",
        scaled_embedding=True,
        refused={"use_bidirectional_attention": "attention in both directions"},
    ),
)
