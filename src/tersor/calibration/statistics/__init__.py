"""Running statistics of activations: one pass, no activations kept."""

from tersor.calibration.statistics.extrema import (
    AbsMax,
    ActivationRange,
    MinMax,
    PerChannel,
    WindowRanges,
)
from tersor.calibration.statistics.histogram import Histogram, RunningHistogram
from tersor.calibration.statistics.moments import Mean, MeanMagnitude, MeanSquare
from tersor.calibration.statistics.statistic import Several, Statistic

__all__ = [
    "AbsMax",
    "ActivationRange",
    "Histogram",
    "Mean",
    "MeanMagnitude",
    "MeanSquare",
    "MinMax",
    "PerChannel",
    "RunningHistogram",
    "Several",
    "Statistic",
    "WindowRanges",
]
