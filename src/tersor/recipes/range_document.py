"""Range estimators as written in a recipe: a method and its numbers."""

from collections.abc import Mapping
from typing import Any

from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
)
from tersor.recipes.methods import method_to_dict, parse_method
from tersor.recipes.recipe import AnyRange
from tersor.transforms import ClipSearch

_RANGES: dict[str, type[AnyRange]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "importance": ImportanceWeighted,
    "clip": ClipSearch,
    "entropy": Entropy,
    "moving_average": MovingAverage,
}


def parse_range(data: Mapping[str, Any] | str, where: str) -> AnyRange:
    """The estimator of ``{"method": …, parameter: number, …}``; ``where`` names it in messages.

    Raises :class:`~tersor.errors.RecipeError`.
    """
    return parse_method(data, where, _RANGES)


def range_to_dict(range_: AnyRange) -> dict[str, Any]:
    """Inverse of :func:`parse_range`; every parameter is written out."""
    return method_to_dict(range_, _RANGES)
