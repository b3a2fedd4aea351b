"""What every range does: decide where a grid begins and ends.

In a recipe a range is a frozen value, which says what it needs to know of a matrix's inputs. Bound
to what was seen of them it is an estimator for that matrix.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from tersor.grids import Parameters, ScaleStorage, TensorScheme, fit
from tersor.ranges.observation import NOTHING, Needs, Observation, Stream

Bounds = tuple[Tensor, Tensor]
"""``(low, high)``, float32, each ``(rows, groups)``."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Parameters and the bounds they were fitted to; all ``(rows, groups)``."""

    parameters: Parameters
    bounds: Bounds


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

    def fitted(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Fitted:
        """What is stored for every block, and its range."""


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

    def fitted(
        self: RangeEstimator,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Fitted:
        """What makes the grid span the bounds."""
        bounds = self.bounds(blocks, scheme, storage, importance)
        return Fitted(fit(scheme, *bounds, storage), bounds)

    def of_stream(
        self: RangeEstimator, stream: Stream, scheme: TensorScheme, storage: ScaleStorage
    ) -> Bounds:
        """The range of the histogram."""
        return self.bounds(stream.centres.reshape(1, 1, -1), scheme, storage, stream.counts)


def bound_by_importance(range_: RangeEstimator, observed: Observation | None) -> Bound:
    """``range_`` with the importance ``E[x_j²]`` of every column.

    All columns count alike where inputs tell nothing; the note says why.
    """
    found = None if observed is None else observed.mean_square
    if found is None:
        return Bound(range_)
    if not bool(found.isfinite().all()):
        return Bound(range_, note="inputs hold NaN or infinity: all columns count alike")
    if not bool(found.any()):
        return Bound(range_, note="inputs are always zero: all columns count alike")
    return Bound(range_, found)
