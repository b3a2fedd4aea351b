"""Command, by Cohere: mixer and feed-forward side by side, no rotation without a window."""

from tersor.families.decoder import ATTENTION, Biases, Decoder, Turned, Types, Windows
from tersor.families.runnable import Runnable
from tersor.families.usual.defaults import DEFAULTS

COHERE2 = Runnable(
    "cohere2",
    defaults={
        **DEFAULTS,
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "attention_bias": False,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "tie_word_embeddings": True,
        "eos_token_id": 255001,
    },
    decoder=Decoder(
        norms={"attention_norm": "input_layernorm", "mlp_norm": "input_layernorm"},
        epsilon="layer_norm_eps",
        centred=True,
        biases=(Biases(ATTENTION, "attention_bias"),),
        parallel=True,
        head_size=None,
        windows=Windows.BY_TYPE,
        types=Types(full_every="sliding_window_pattern"),
        turned=Turned.WINDOWED,
        turns_pairs=True,
        logits_multiplier="logit_scale",
    ),
)
