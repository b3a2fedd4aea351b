"""The range is what was seen: nothing is clipped."""

from dataclasses import dataclass

from torch import Tensor

from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import Bounds


@dataclass(frozen=True)
class MinMax:
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
