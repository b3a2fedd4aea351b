"""Range estimators: where does the grid begin and end? One method per file."""

from tersor.ranges.entropy import Entropy
from tersor.ranges.estimator import Bounds, RangeEstimator
from tersor.ranges.importance import ImportanceWeighted
from tersor.ranges.minmax import MinMax
from tersor.ranges.moving_average import MovingAverage
from tersor.ranges.mse import MeanSquaredError
from tersor.ranges.percentile import Percentile

__all__ = [
    "Bounds",
    "Entropy",
    "ImportanceWeighted",
    "MeanSquaredError",
    "MinMax",
    "MovingAverage",
    "Percentile",
    "RangeEstimator",
]
