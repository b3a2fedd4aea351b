"""Range estimators as written in a recipe: a method and its numbers."""

from collections.abc import Mapping
from dataclasses import asdict
from reprlib import repr as clipped
from typing import Any

from tersor.errors import RecipeError
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
)
from tersor.recipes.patterns import did_you_mean
from tersor.recipes.recipe import AnyRange

_RANGES: dict[str, type[AnyRange]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "importance": ImportanceWeighted,
    "entropy": Entropy,
    "moving_average": MovingAverage,
}


def parse_range(data: Mapping[str, Any], where: str) -> AnyRange:
    """The estimator of ``{"method": …, parameter: number, …}``; ``where`` names it in messages.

    Raises :class:`RecipeError`.
    """
    parameters = dict(data)
    method = parameters.pop("method", None)
    if not isinstance(method, str) or method not in _RANGES:
        hint = did_you_mean(method if isinstance(method, str) else "", _RANGES)
        raise RecipeError(f"{where}.method {_shown(method)} unknown{hint}")
    defaults = {name: field.default for name, field in _RANGES[method].__dataclass_fields__.items()}
    for key, value in parameters.items():
        if key not in defaults:
            raise RecipeError(f"{where}: unknown key {key!r}{did_you_mean(key, defaults)}")
        whole = isinstance(defaults[key], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise RecipeError(f"{where}.{key} must be {kind}, not {_shown(value)}")
    return _RANGES[method](**parameters)


def range_to_dict(range_: AnyRange) -> dict[str, Any]:
    """Inverse of :func:`parse_range`; every parameter is written out."""
    method = next(name for name, kind in _RANGES.items() if type(range_) is kind)
    return {"method": method, **asdict(range_)}


def _shown(value: object) -> str:
    """A value for a message; a list in a recipe may be short to write and endless to print."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else clipped(value)
