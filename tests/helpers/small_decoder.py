"""A native decoder of random floats, made without torch."""

from typing import Any

import numpy as np

from tersor import _native

HIDDEN, HEAD, MLP, VOCABULARY, POSITIONS = 32, 16, 48, 40, 128


def builder() -> _native.DecoderBuilder:
    """Two layers, the second with a window of 5."""
    chance = np.random.default_rng(0)

    def floats(*shape: int) -> Any:
        return chance.normal(0, 0.2, shape).astype(np.float32)

    def linear(rows: int, columns: int) -> _native.Weights:
        return _native.Weights.dense(floats(-(-rows // 16), columns, 16), rows, None)

    made = _native.DecoderBuilder(
        hidden=HIDDEN,
        heads=2,
        key_heads=1,
        head_size=HEAD,
        mlp_size=MLP,
        epsilon=1e-6,
        query_scale=0.25,
        attention_cap=0.0,
        final_cap=0.0,
        activation="silu",
    )
    made.set_embedding(floats(VOCABULARY, HIDDEN), 1.0)
    made.add_rope(floats(POSITIONS, HEAD // 2), floats(POSITIONS, HEAD // 2))
    for window in (0, 5):
        made.add_layer(
            attention_norm=floats(HIDDEN),
            attention=[linear(2 * HEAD, HIDDEN), linear(HEAD, HIDDEN), linear(HEAD, HIDDEN)],
            query_norm=None,
            key_norm=None,
            attention_output=linear(HIDDEN, 2 * HEAD),
            attention_output_norm=None,
            mlp_norm=floats(HIDDEN),
            mlp=[linear(MLP, HIDDEN), linear(MLP, HIDDEN)],
            mlp_output=linear(HIDDEN, MLP),
            mlp_output_norm=None,
            window=window,
            rope=0,
        )
    made.set_head(floats(HIDDEN), linear(VOCABULARY, HIDDEN))
    return made


def decoder(
    *, slots: int = 1, capacity: int = POSITIONS, threads: int = 1, most_tokens: int = POSITIONS
) -> _native.Decoder:
    """The decoder, at the level that every machine has."""
    return _native.Decoder(
        builder=builder(),
        level="portable",
        slots=slots,
        capacity=capacity,
        storage="float32",
        threads=threads,
        most_tokens=most_tokens,
    )


def logits(of: _native.Decoder, count: int) -> Any:
    """Logits ``(count, vocabulary)`` of a text that begins anew."""
    places = np.arange(count)
    found = np.empty((count, VOCABULARY), np.float32)
    of.run(places % VOCABULARY, np.zeros(count, np.int64), places, places, found)
    return found
