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

    def norm() -> _native.Norm:
        return _native.Norm(
            weight=floats(HIDDEN),
            bias=None,
            size=HIDDEN,
            epsilon=1e-6,
            centred=False,
            spans_all=False,
        )

    made = _native.DecoderBuilder(hidden=HIDDEN)
    made.set_embedding(floats(VOCABULARY, HIDDEN), 1.0)
    rope = _native.Rope(floats(POSITIONS, HEAD // 2), floats(POSITIONS, HEAD // 2), False)
    for window in (0, 5):
        mixer = _native.Mixer.attention(
            heads=2,
            key_heads=1,
            head_size=HEAD,
            input=[linear(2 * HEAD, HIDDEN), linear(HEAD, HIDDEN), linear(HEAD, HIDDEN)],
            output=linear(HIDDEN, 2 * HEAD),
            query_norm=None,
            key_norm=None,
            rope=rope,
            window=window,
            query_scale=0.25,
            cap=0.0,
            fused=False,
            turns_first=False,
        )
        feedforward = _native.FeedForward.gated(
            activation="silu",
            input=[linear(MLP, HIDDEN), linear(MLP, HIDDEN)],
            output=linear(HIDDEN, MLP),
        )
        made.add_block(
            mixer=mixer,
            feedforward=feedforward,
            mixer_norm=norm(),
            mixer_output_norm=None,
            feedforward_norm=norm(),
            feedforward_output_norm=None,
            scale=1.0,
            parallel=False,
        )
    made.set_head(norm=norm(), linear=linear(VOCABULARY, HIDDEN), scale=1.0, cap=0.0)
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
