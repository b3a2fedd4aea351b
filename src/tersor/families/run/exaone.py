"""EXAONE, by LG: norms after, no rotation without a window."""

from tersor.families.decoder import NORMS_AFTER, NORMS_OF_HEADS, Decoder, Turned, Types, Windows
from tersor.families.runnable import Runnable
from tersor.families.usual.defaults import DEFAULTS

EXAONE4 = Runnable(
    "exaone4",
    defaults={
        **DEFAULTS,
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "eos_token_id": 2,
    },
    decoder=Decoder(
        norms=NORMS_AFTER | NORMS_OF_HEADS,
        windows=Windows.BY_TYPE,
        types=Types(full_every="sliding_window_pattern"),
        turned=Turned.WINDOWED_IF_ANY,
    ),
)
