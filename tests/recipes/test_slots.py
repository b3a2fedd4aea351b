"""Range estimators ⇄ what a recipe says."""

import pytest

from tersor.errors import RecipeError
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
    Range,
)
from tersor.recipes.methods import method_to_dict, parse_method
from tersor.recipes.named import RANGES
from tersor.transforms import ClipSearch


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
