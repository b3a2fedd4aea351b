"""MSE search in which a weight counts by how strongly its input is driven.

The output error of a linear is ``Σ_j Δw_j² E[x_j²]`` if inputs are uncorrelated; the same idea is
llama.cpp's "imatrix".
"""

from dataclasses import dataclass

from torch import Tensor

from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import BaseRange, Bound, Bounds, bound_by_importance
from tersor.ranges.mse import MeanSquaredError
from tersor.ranges.observation import Need, Needs, Observation


@dataclass(frozen=True)
class ImportanceWeighted(BaseRange):
    """:class:`MeanSquaredError` with the importance ``E[x_j²]`` of every column."""

    steps: int = 40
    smallest: float = 0.4

    @property
    def needs(self) -> Needs:
        """``E[x_j²]``."""
        return frozenset({Need.MEAN_SQUARE})

    def bind(self, observed: Observation | None) -> Bound:
        """All columns count alike where inputs tell nothing; the note says why."""
        return bound_by_importance(self, observed)

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        search = MeanSquaredError(self.steps, self.smallest)
        return search.bounds(blocks, scheme, storage, importance)
