"""Arrays of another type are refused by every binding, never converted."""

import numpy as np
import pytest

from tersor import _native

FLOATS = np.zeros((4, 48), np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.uint16])
def test_arrays_of_another_type_are_refused(dtype: type) -> None:
    wrong = FLOATS.astype(dtype)
    level = _native.best_level()
    with pytest.raises(TypeError):
        _native.sample(wrong[0], 1.0, 0, 1.0, 0.0, 0.5)
    queries = np.zeros((1, 4, 8), np.float32)
    with pytest.raises(TypeError):
        _native.causal_attention(level, queries.astype(dtype), queries, queries, queries, 1.0)


@pytest.mark.parametrize(("dtype", "accepted"), [
    (np.float32, True), (np.uint16, True), (np.float64, False), (np.float16, False),
    (np.int16, False), (np.uint32, False),
])  # fmt: skip
def test_an_embedding_is_bfloat16_or_float32(dtype: type, accepted: bool) -> None:
    builder = _native.DecoderBuilder(48, 3, 1, 16, 80, 1e-5, 0.25, 0.0, 0.0, "silu")
    table = np.ones((7, 48)).astype(dtype)
    if accepted:
        builder.set_embedding(table, 47**0.5)  # no float32
        return
    with pytest.raises(TypeError):
        builder.set_embedding(table, 47**0.5)


def test_arrays_in_another_order_are_refused() -> None:
    builder = _native.DecoderBuilder(48, 3, 1, 16, 80, 1e-5, 0.25, 0.0, 0.0, "silu")
    with pytest.raises(TypeError):
        builder.set_embedding(np.ones((48, 48), np.float32).T, 1.0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.float32])
def test_codes_are_bytes(dtype: type) -> None:
    with pytest.raises(TypeError):
        _native.pack_panels(np.zeros((16, 16), dtype), np.zeros(128, np.uint8), 16, 4, 1)
