"""Methods ⇄ what a recipe says, and what each needs of calibration."""

from typing import Any

import pytest

from tersor.errors import RecipeError
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Need,
    Percentile,
    Range,
)
from tersor.recipes.methods import method_to_dict, name_of, parse_method
from tersor.recipes.slots import (
    CORRECTIONS,
    RANGES,
    ROTATIONS,
    ROUNDINGS,
    SCALINGS,
    TRAININGS,
)
from tersor.rounding import Gptq, Nearest
from tersor.training import Optq
from tersor.transforms import Awq, BiasCorrection, ClipSearch, SmoothQuant


@pytest.mark.parametrize(
    ("estimator", "document"),
    [
        (MinMax(), {"method": "minmax"}),
        (Percentile(0.99), {"method": "percentile", "share": 0.99}),
        (MeanSquaredError(20, 0.5), {"method": "mse", "steps": 20, "smallest": 0.5, "norm": 2.0}),
        (ImportanceWeighted(), {"method": "importance", "steps": 40, "smallest": 0.4}),
        (ClipSearch(), {"method": "clip", "steps": 19, "smallest": 0.55}),
        (Entropy(512, 4), {"method": "entropy", "bins": 512, "stride": 4}),
        (MovingAverage(), {"method": "moving_average", "momentum": 0.9}),
    ],
    ids=str,
)
def test_there_and_back(estimator: Range, document: dict[str, object]) -> None:
    assert method_to_dict(estimator, RANGES) == document
    assert parse_method(document, "range", RANGES) == estimator
    assert parse_method({"method": document["method"]}, "range", RANGES) == type(estimator)()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "range.method None unknown; known: minmax, percentile"),
        ({"method": "msee"}, "range.method 'msee' unknown; did you mean 'mse'?"),
        ({"method": 3}, "range.method 3 unknown; known: minmax"),
        ({"method": ["mse"]}, "range.method a list unknown"),
        ({"method": None}, "range.method None unknown"),
        ({"method": "mse", "step": 4}, "range: unknown key 'step'; did you mean 'steps'"),
        ({"method": "minmax", "share": 1}, "range: unknown key 'share'$"),
        ({"method": "mse", "steps": "4"}, "range.steps must be a whole number, not '4'"),
        ({"method": "mse", "steps": 4.5}, "range.steps must be a whole number, not 4.5"),
        ({"method": "mse", "steps": True}, "range.steps must be a whole number, not True"),
        ({"method": "mse", "steps": None}, "range.steps must be a whole number, not None"),
        ({"method": "mse", "smallest": "x"}, "range.smallest must be a number, not 'x'"),
        ({"method": "percentile", "share": False}, "range.share must be a number, not False"),
        ({"method": "percentile", "share": [0.9]}, "range.share must be a number, not a list"),
        ({"method": "percentile", "share": 2}, "share 2 is not within"),
        ({"method": "percentile", "share": float("nan")}, "share nan is not within"),
        ({"method": "mse", "steps": 0}, "steps 0"),
        ({"method": "entropy", "bins": 0}, "bins 0"),
        ({"method": "moving_average", "momentum": 1}, "momentum 1 is not within"),
    ],
    ids=str,
)
def test_what_makes_no_sense(document: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_method(document, "range", RANGES)


def test_a_huge_value_is_not_printed_in_full() -> None:
    laugh: list[object] = ["lol"]
    for _ in range(40):
        laugh = [laugh] * 9
    for value in (laugh, "lol" * 10**6):
        document = {"method": "mse", "steps": value}
        with pytest.raises(RecipeError) as caught:
            parse_method(document, "range", RANGES)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "table", [RANGES, ROTATIONS, SCALINGS, ROUNDINGS, CORRECTIONS, TRAININGS], ids=sorted
)
def test_every_name_makes_a_value_that_is_written_with_it(table: dict[str, type]) -> None:
    for name in table:
        value = parse_method(name, "step", table)
        assert name_of(value, table) == name
        assert parse_method(method_to_dict(value, table), "step", table) == value


def test_a_value_without_a_name_cannot_be_written() -> None:
    with pytest.raises(RecipeError, match="Gptq has no name in recipes; known: minmax, percentile"):
        method_to_dict(Gptq(), RANGES)


def named(value: object) -> str:
    """A test's name; sets have an order of their own in every process."""
    return " ".join(sorted(map(str, value))) if isinstance(value, set) else str(value)


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        (MinMax(), set()),
        (MeanSquaredError(), set()),
        (ImportanceWeighted(), {Need.MEAN_SQUARE}),
        (ClipSearch(), {Need.SECOND_MOMENTS}),
        (Nearest(), set()),
        (Gptq(), {Need.SECOND_MOMENTS}),
        (Gptq(drift=True), {Need.SECOND_MOMENTS, Need.DRIFT}),
        (Optq(), {Need.SECOND_MOMENTS, Need.DRIFT}),
        (Awq(), {Need.SECOND_MOMENTS, Need.MEAN_MAGNITUDE}),
        (SmoothQuant(), {Need.LARGEST}),
        (SmoothQuant(alpha=None), {Need.LARGEST, Need.SAMPLE}),
        (BiasCorrection(), {Need.MEAN}),
    ],
    ids=named,
)
def test_what_methods_need(method: Any, needs: set[Need]) -> None:
    assert method.needs == needs
