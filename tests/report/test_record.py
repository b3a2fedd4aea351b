"""Records as JSON."""

import json
from dataclasses import replace

import pytest

from tersor.report import LayerRecord, damage_warning, damaged, worst_first

GOOD = LayerRecord("good", (2, 8), "W4A16", 20, sqnr_db=19.0)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("key", ["sqnr_db", "aimed_db", "rounding", "clipping", "output_error"])
def test_what_is_not_finite_is_no_json_number(key: str, number: float) -> None:
    record = LayerRecord("m", (2, 8), "W8A16", 20, **{key: number})
    document = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    assert document[key] is None
    assert document["bits_per_weight"] == 10
    assert document["shape"] == [2, 8]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sqnr_db": 2.9}, "SQNR 2.9 dB"),
        ({"sqnr_db": 0.0}, "SQNR 0 dB"),
        ({"sqnr_db": float("-inf")}, "SQNR -inf dB"),
        ({"output_error": 0.5}, "50% of its output's power is error"),
        ({"aimed_db": 2.0}, "SQNR 2 dB of what it was aimed at"),
    ],
)
def test_half_lost_is_damage(changes: dict[str, float], said: str) -> None:
    record = replace(GOOD, **changes)
    assert record.damage == said
    warning = damage_warning([GOOD, record])
    assert warning.startswith(f"good: {said}")
    assert "--exclude good" in warning


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sqnr_db": 3.0, "output_error": 0.49},
        {"sqnr_db": float("inf")},
        {"sqnr_db": None, "reason": "excluded"},
        {"sqnr_db": -48.0, "output_error": 4e5, "aimed_db": 18.0},
    ],
    ids=["usual", "just not", "nothing lost", "kept", "makes up for earlier blocks"],
)
def test_what_is_no_damage(changes: dict[str, float]) -> None:
    assert damaged([replace(GOOD, **changes)]) == []
    assert damage_warning([replace(GOOD, **changes)]) == ""


def test_the_worst_come_first_and_what_lost_nothing_last() -> None:
    values = {"whole": float("inf"), "none": None, "zero": 0.0, "good": 19.0, "less": -1.0}
    records = [replace(GOOD, module=name, sqnr_db=db) for name, db in values.items()]
    assert [record.module for record in worst_first(records)] == ["less", "zero", "good", "whole"]
