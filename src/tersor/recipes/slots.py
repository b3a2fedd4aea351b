"""Methods by the names that recipes have for them: a new one is a line here."""

from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
    Range,
)
from tersor.transforms import ClipSearch

RANGES: dict[str, type[Range]] = {
    "minmax": MinMax,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "importance": ImportanceWeighted,
    "clip": ClipSearch,
    "entropy": Entropy,
    "moving_average": MovingAverage,
}
