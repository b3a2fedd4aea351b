"""What every range does: decide where a grid begins and ends.

In a recipe a range is a frozen value, which says what it needs to know of a matrix's inputs. Bound
to what was seen of them it is an estimator for that matrix.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.observation import NOTHING, Needs, Observation, Stream

Bounds = tuple[Tensor, Tensor]
"""``(low, high)``, float32, each ``(rows, groups)``."""


class RangeEstimator(Protocol):
    """Chooses ``[low, high]`` for blocks of values that share a scale."""

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """Range of every block.

        ``blocks``: float32 ``(rows, groups, size)``. ``importance``: non-negative weight of every
        value's squared error, broadcastable to ``blocks``; an estimator that does not weigh errors
        ignores it.
        """


@dataclass(frozen=True, eq=False)
class Bound:
    """An estimator for one matrix.

    ``importance``: float32 ``(in,)``, for :meth:`RangeEstimator.bounds`. ``note``: what went
    differently than asked, for the report.
    """

    estimator: RangeEstimator
    importance: Tensor | None = None
    note: str = ""


class Range(Protocol):
    """How a recipe chooses ranges."""

    @property
    def needs(self) -> Needs:
        """What it needs to know of a matrix's inputs."""

    def bind(self, observed: Observation | None) -> Bound:
        """The estimator for matrices that read these inputs; ``None`` if they were not seen."""

    def of_stream(self, stream: Stream, scheme: TensorScheme, storage: ScaleStorage) -> Bounds:
        """The range ``(1, 1)`` of a static activation."""


class BaseRange:
    """A range that looks at nothing but the values; it is its own estimator.

    The histogram of a static activation stands for the values it counted: centres of bins, weighed
    by their counts.
    """

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return NOTHING

    def bind(self: RangeEstimator, observed: Observation | None) -> Bound:
        """Itself, whatever was seen."""
        del observed
        return Bound(self)

    def of_stream(
        self: RangeEstimator, stream: Stream, scheme: TensorScheme, storage: ScaleStorage
    ) -> Bounds:
        """The range of the histogram."""
        return self.bounds(stream.centres.reshape(1, 1, -1), scheme, storage, stream.counts)
