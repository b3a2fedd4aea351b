"""What every range estimator does: decide where a grid begins and ends."""

from typing import Protocol

from torch import Tensor

from tersor.grids import ScaleStorage, TensorScheme

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
