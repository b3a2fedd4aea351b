"""Range estimators: where does the grid begin and end? One method per file."""

from tersor.ranges.entropy import Entropy
from tersor.ranges.estimator import BaseRange, Bound, Bounds, Fitted, Range, RangeEstimator
from tersor.ranges.importance import ImportanceWeighted
from tersor.ranges.least_squares import LeastSquares
from tersor.ranges.minmax import MinMax
from tersor.ranges.moving_average import MovingAverage
from tersor.ranges.mse import MeanSquaredError
from tersor.ranges.observation import (
    NOTHING,
    Drift,
    Need,
    Needs,
    Observation,
    Stream,
    all_needs,
)
from tersor.ranges.percentile import Percentile

__all__ = [
    "NOTHING",
    "BaseRange",
    "Bound",
    "Bounds",
    "Drift",
    "Entropy",
    "Fitted",
    "ImportanceWeighted",
    "LeastSquares",
    "MeanSquaredError",
    "MinMax",
    "MovingAverage",
    "Need",
    "Needs",
    "Observation",
    "Percentile",
    "Range",
    "RangeEstimator",
    "Stream",
    "all_needs",
]
