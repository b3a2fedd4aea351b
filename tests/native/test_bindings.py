"""Arrays cross into native code as they are, or not at all: none is converted, none is copied."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tersor import _native
from tersor.runtime.engine.engine import Engine
from tiny_models import save_tiny


class Given(NamedTuple):
    """An array that a function takes: types that it has an overload for, and axes."""

    dtypes: tuple[type, ...]
    axes: int

    def made(self, dtype: type) -> Any:
        return np.ones((1,) * self.axes, dtype)


def floats(axes: int) -> Given:
    return Given((np.float32,), axes)


def halves(axes: int) -> Given:
    """bfloat16, as its bits, or float32."""
    return Given((np.float32, np.uint16), axes)


BYTES1, BYTES2, BYTES3 = (Given((np.uint8,), axes) for axes in (1, 2, 3))
INDICES, DOUBLES = Given((np.int64,), 1), Given((np.float64,), 1)
STRIPS = dict(zip(("original", "targets", "errors"), [floats(3)] * 3, strict=True)) | {
    "codes": BYTES3,
    "feedback": floats(2),
    "first": 0,
    "last": 1,
}
NUMBERS = (np.ones((1, 1, 16), np.float32), None)
PACKED = {"scales": NUMBERS, "zeros": BYTES3, "zero": 0, "group": 1, "bits": 8}
LINEAR = {"level": "", "x": floats(2), "packed": BYTES1, **PACKED, "y": floats(2), "threads": 1}
ROUND = {**STRIPS, "block": 1, "scale": floats(3)}
# Arguments in their order, or by their names where there are no others.
Arguments = list[Any] | dict[str, Any]
FUNCTIONS: dict[str, Arguments] = {
    "pack": [BYTES2, Given((np.uint32,), 2), 4],
    "unpack": [Given((np.uint32,), 2), BYTES2, 4],
    "error_sums": [*[floats(2)] * 6, Given((np.float64,), 2)],
    "range_search": [*[floats(3)] * 4, 15, 2.0, Given((np.int64,), 2)],
    "best_lines": {
        **dict.fromkeys(("values", "importance", "scale", "minimum"), floats(3)),
        **{"rounds": 1, "lowest": 0.0, "highest": 15.0, "has_minima": True, "negative": False},
        **dict.fromkeys(("best_scale", "best_minimum", "loss"), floats(2)),
        "start": Given((np.int64,), 2),
    },
    "gptq_feed": {**STRIPS, "corrected": floats(3)},
    "gptq_integers": {**ROUND, "lowest": floats(3), "top": 15, "first_code": 0},
    "gptq_levels": {
        **ROUND,
        "levels": floats(1),
        "boundaries": floats(1),
        "level_codes": BYTES1,
    },
    "gptq_factor": [floats(2), INDICES, DOUBLES, floats(2)],
    "add_second_moment": [halves(2), floats(2), 0, 1],
    "add_cross_moment": [halves(2), halves(2), floats(2), 0, 1],
    "divergence": [halves(2), halves(2), DOUBLES],
    "causal_attention": ["", *[floats(3)] * 4, 1.0],
    "read_seconds": [BYTES1, 1, 0],
    "pack_panels": [BYTES2, BYTES1, 1, 8, 1],
    "linear": {**LINEAR, "fixed": None, "minima": None},
    "float_linear": {**LINEAR, "levels": floats(1), "minima": None},
    "dense_linear": ["", floats(2), halves(3), floats(2), 1],
    "sample": [floats(1), 1.0, 0, 1.0, 0.0, 0.5],
    "Weights.packed": {
        "codes": BYTES1,
        **PACKED,
        "rows": 1,
        "columns": 1,
        "integer": False,
        "fixed": None,
        "levels": floats(1),
        "bias": floats(1),
        "minima": None,
    },
    "Weights.dense": [halves(3), 1, floats(1)],
}
NEIGHBOURS: dict[type, list[type]] = {
    np.float32: [np.float64, np.float16, np.int32],
    np.uint16: [np.float16, np.int16, np.uint8],
    np.uint8: [np.int8, np.bool_, np.uint16],
    np.uint32: [np.int32, np.uint64],
    np.int64: [np.int32, np.uint64, np.float64],
    np.float64: [np.float32],
}


def call(function: Callable[..., Any], given: Arguments, changed: dict[Any, Any], one: int) -> Any:
    """A call with arrays of the first (0) or last (-1) type that they may have, but for some."""
    places = given.items() if isinstance(given, dict) else enumerate(given)
    whole = {
        place: changed.get(place, g.made(g.dtypes[one]) if isinstance(g, Given) else g)
        for place, g in places
    }
    return function(**whole) if isinstance(given, dict) else function(*whole.values())


def check(function: Callable[..., Any], given: Arguments) -> int:
    """Every array in turn of every wrong type; returns how many calls were refused."""
    refused = 0
    for place, one in given.items() if isinstance(given, dict) else enumerate(given):
        if not isinstance(one, Given):
            continue
        wrong = {n for dtype in one.dtypes for n in NEIGHBOURS[dtype]} - set(one.dtypes)
        for others in (0, -1):
            for dtype in wrong:
                with pytest.raises(TypeError):
                    call(function, given, {place: one.made(dtype)}, others)
                refused += 1
    return refused


@pytest.mark.parametrize("name", ["linear", "float_linear", "Weights.packed"])
@pytest.mark.parametrize("place", ["scales", "minima"])
def test_numbers_of_groups_of_other_types(name: str, place: str) -> None:
    function: Any = _native
    for part in name.split("."):
        function = getattr(function, part)
    (ones, _), halved = NUMBERS, np.ones((1, 1, 16), np.float16)
    for wrong in (ones, (ones,), (ones[0], None), (halved, np.ones((1, 1, 16), np.uint8))):
        with pytest.raises(TypeError):
            call(function, FUNCTIONS[name], {place: wrong}, 0)
    for dtype in (np.float64, np.int32, np.int8):
        with pytest.raises((TypeError, ValueError)):
            call(function, FUNCTIONS[name], {place: (ones.astype(dtype), None)}, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_type_is_refused(name: str) -> None:
    function: Any = _native
    for part in name.split("."):
        function = getattr(function, part)
    given = FUNCTIONS[name]
    assert check(function, given) > 0
    # Types that are right get as far as what sizes must be, or through.
    with suppress(ValueError):
        call(function, given, {}, 0)


def test_every_function_is_tried() -> None:
    takes_arrays = {
        name
        for name, function in vars(_native).items()
        if callable(function) and "ndarray" in (function.__doc__ or "")
    }
    assert takes_arrays <= set(FUNCTIONS)
    assert len(takes_arrays) >= 15


def test_parts_of_a_decoder() -> None:
    norm = {"weight": floats(1), "bias": floats(1), "size": 1, "epsilon": 1e-6, "centred": True}
    norm["spans_all"] = False
    builder = _native.DecoderBuilder(hidden=1)
    assert check(builder.set_embedding, [halves(2), 1.0]) > 0
    assert check(_native.Rope, [floats(2), floats(2), False]) > 0
    assert check(_native.Norm, norm) > 0


def test_tokens_and_logits(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    decoder = Engine(tmp_path)._session._decoder
    assert check(decoder.run, [*[INDICES] * 4, floats(2)]) > 0


def test_what_is_not_contiguous_is_refused_and_not_copied() -> None:
    codes, words = np.ones((3, 16), np.uint8), np.zeros((3, 4), np.uint32)
    _native.pack(codes[:, :8].copy(), words[:, :1].copy(), 4)
    with pytest.raises(TypeError):
        _native.pack(codes[:, ::2], np.zeros((3, 1), np.uint32), 4)
    with pytest.raises(TypeError):
        _native.pack(codes[:, :8].copy(), words[:, ::4], 4)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_an_embedding_times_what_is_no_float32(dtype: type) -> None:
    builder = _native.DecoderBuilder(hidden=48)
    builder.set_embedding(np.ones((7, 48), dtype), 47**0.5)
    with pytest.raises(TypeError):
        builder.set_embedding(np.ones((48, 48), dtype).T, 1.0)
