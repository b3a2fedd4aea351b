"""Outliers: columns of a matrix, or channels of its input, far over the others."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FAR = 4.0
"""A column counts as an outlier from this many times the median on."""
_NAMED = 8


@dataclass(frozen=True)
class Outliers:
    """The largest magnitude of every column, or channel, against the median of them.

    ``median``, ``largest``: of these magnitudes; ``count``: how many of ``columns`` are at least
    ``FAR`` times the median; ``top``: the largest of all, ``(column, magnitude)``, at most 8.
    ``sorted_``: all magnitudes, descending, float32, for pictures; not part of the document.
    """

    columns: int
    median: float
    largest: float
    count: int
    top: tuple[tuple[int, float], ...]
    sorted_: Tensor

    @property
    def ratio(self) -> float:
        """``largest / median``; 0 where there is no median over 0."""
        return self.largest / self.median if self.median > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "columns": self.columns,
            "median": self.median,
            "largest": self.largest,
            "ratio": self.ratio,
            "outliers": self.count,
            "top": [{"column": column, "largest": value} for column, value in self.top],
        }


def outliers(magnitudes: Tensor) -> Outliers:
    """Of the largest magnitude of every column, ``(in,)``."""
    values, order = magnitudes.float().sort(descending=True, stable=True)
    median = float(values.median())
    far = values >= FAR * median if median > 0 else values > 0
    top = tuple(
        (int(column), float(value))
        for column, value in zip(order[:_NAMED], values[:_NAMED], strict=True)
    )
    return Outliers(len(values), median, float(values[0]), int(far.sum()), top, values)


def column_outliers(weight: Tensor) -> Outliers:
    """Of a matrix ``(out, in)``."""
    return outliers(torch.maximum(weight.amax(0), -weight.amin(0)))
