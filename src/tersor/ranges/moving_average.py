"""Ranges of a stream of batches, smoothed.

Jacob et al., https://arxiv.org/abs/1712.05877, section 3.1.
"""

from dataclasses import dataclass

from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import BaseRange, Bounds
from tersor.ranges.observation import Stream


@dataclass(frozen=True)
class MovingAverage(BaseRange):
    """Exponential average of the ranges of successive batches: ``r ← m·r + (1−m)·batch``.

    For static activations. A weight has no batches; asked for a weight, it takes its rows of blocks
    as the one batch there is, which makes it min-max.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise RecipeError(
                f"range moving_average: momentum {self.momentum} is not within [0, 1)"
            )

    def update(self, average: Bounds | None, batch: Bounds) -> Bounds:
        """The average after one more batch; the first batch starts it."""
        if average is None:
            return batch
        low, high = (
            self.momentum * old + (1 - self.momentum) * new
            for old, new in zip(average, batch, strict=True)
        )
        return low, high

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        low, high = blocks.aminmax(dim=-1)
        return self.update(None, (low, high))

    def of_stream(self, stream: Stream, scheme: TensorScheme, storage: ScaleStorage) -> Bounds:
        """The average over windows, in float64."""
        average = None
        for ends in zip(stream.lows.double(), stream.highs.double(), strict=True):
            average = self.update(average, ends)
        assert average is not None
        low, high = (end.float().reshape(1, 1) for end in average)
        return low, high
