"""Fields that almost every ``config.json`` of a decoder has."""

# With transformers' commonest defaults; families say what differs.
DEFAULTS = {
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": None,
}
