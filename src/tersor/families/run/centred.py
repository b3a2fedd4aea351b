"""Families with norms that subtract the mean: StarCoder 2, StableLM, Phi 1 to 2."""

from tersor.families.decoder import (
    ATTENTION,
    NORMS_BEFORE,
    QUERIES_KEYS_VALUES,
    Biases,
    Decoder,
    Windows,
)
from tersor.families.runnable import Runnable
from tersor.families.usual.defaults import DEFAULTS

_PHI_ATTENTION = (*QUERIES_KEYS_VALUES, "self_attn.dense")
_STARCODER_MLP = ("mlp.c_fc", "mlp.c_proj")
_PHI_MLP = ("mlp.fc1", "mlp.fc2")

STARCODER2 = Runnable(
    "starcoder2",
    defaults={
        **DEFAULTS,
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-5,
        "sliding_window": None,
        "use_bias": True,
        "tie_word_embeddings": True,
        "eos_token_id": 50256,
    },
    decoder=Decoder(
        mlp=_STARCODER_MLP,
        gated=False,
        epsilon="norm_epsilon",
        centred=True,
        norm_biases=True,
        biases=(Biases((*ATTENTION, *_STARCODER_MLP), "use_bias"),),
        windows=Windows.ALL,
    ),
)
STABLELM = Runnable(
    "stablelm",
    defaults={
        **DEFAULTS,
        "vocab_size": 50304,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.25,
        "use_qkv_bias": False,
        "qk_layernorm": False,
        "use_parallel_residual": False,
        "eos_token_id": 0,
    },
    decoder=Decoder(
        norms=NORMS_BEFORE,
        epsilon="layer_norm_eps",
        centred=True,
        norm_biases=True,
        biases=(Biases(QUERIES_KEYS_VALUES, "use_qkv_bias"),),
        parallel="use_parallel_residual",
        head_size=None,
        parallel_norms="input_layernorm",
        turns_part=True,
        refused={"qk_layernorm": "a norm of its own for each head"},
    ),
)
PHI = Runnable(
    "phi",
    defaults={
        **DEFAULTS,
        "vocab_size": 51200,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "qk_layernorm": False,
        "eos_token_id": 2,
    },
    decoder=Decoder(
        attention=_PHI_ATTENTION,
        mlp=_PHI_MLP,
        gated=False,
        norms={
            "attention_norm": "input_layernorm",
            "mlp_norm": "input_layernorm",
            "query_norm": "self_attn.q_layernorm",
            "key_norm": "self_attn.k_layernorm",
        },
        head_norms_if="qk_layernorm",
        epsilon="layer_norm_eps",
        centred=True,
        norm_biases=True,
        biases=(Biases((*_PHI_ATTENTION, *_PHI_MLP)),),
        parallel=True,
        turns_part=True,
        final_norm="final_layernorm",
        head_biased=True,
    ),
)
