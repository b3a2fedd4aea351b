"""The range is what was seen: nothing is clipped."""

from dataclasses import dataclass

from torch import Tensor

from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import BaseRange, Bounds
from tersor.ranges.observation import Stream


@dataclass(frozen=True)
class MinMax(BaseRange):
    """Smallest and largest value of each block."""

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        low, high = blocks.aminmax(dim=-1)
        return low, high

    def of_stream(self, stream: Stream, scheme: TensorScheme, storage: ScaleStorage) -> Bounds:
        """The smallest and largest value of all, exactly."""
        return stream.lows.min().reshape(1, 1), stream.highs.max().reshape(1, 1)
