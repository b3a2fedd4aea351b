"""MSE search in which a weight counts by how strongly its input is driven.

The output error of a linear is ``Σ_j Δw_j² E[x_j²]`` if inputs are uncorrelated; the same idea is
llama.cpp's "imatrix".
"""

from dataclasses import dataclass

from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import Bounds
from tersor.ranges.mse import MeanSquaredError


@dataclass(frozen=True)
class ImportanceWeighted:
    """:class:`MeanSquaredError` that insists on an importance: ``E[x_j²]`` per column."""

    steps: int = 40
    smallest: float = 0.4

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        if importance is None:
            raise RecipeError("range importance needs calibration statistics; give --calibration")
        search = MeanSquaredError(self.steps, self.smallest)
        return search.bounds(blocks, scheme, storage, importance)
