"""Shrink the range to where the squared error is smallest.

The search over shrink factors of the GPTQ reference (https://arxiv.org/abs/2210.17323), here with
the square norm. The full range is among the candidates, so the error never exceeds min-max's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import ScaleStorage, TensorScheme, fit
from tersor.ranges.estimator import Bounds
from tersor.ranges.minmax import MinMax


@dataclass(frozen=True)
class MeanSquaredError:
    """Best of ``steps`` factors from 1 down to ``smallest``, for each block on its own."""

    steps: int = 40
    smallest: float = 0.4

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.smallest <= 1:
            raise RecipeError(f"range mse: steps {self.steps}, smallest {self.smallest}")

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        low, high = MinMax().bounds(blocks, scheme, storage)
        best_error = torch.full_like(low, torch.inf)
        best_factor = torch.ones_like(low)
        for factor in torch.linspace(1.0, self.smallest, self.steps).tolist():
            error = _error(blocks, scheme, storage, (low * factor, high * factor), importance)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best_factor = torch.where(better, factor, best_factor)
        return low * best_factor, high * best_factor


def _error(
    blocks: Tensor,
    scheme: TensorScheme,
    storage: ScaleStorage,
    bounds: Bounds,
    importance: Tensor | None,
) -> Tensor:
    """Sum of (weighted) squared errors of each block, ``(rows, groups)``."""
    parameters = fit(scheme, *bounds, storage)
    scale = parameters.scale.value().unsqueeze(-1)
    zero_point = None if parameters.zero_point is None else parameters.zero_point.unsqueeze(-1)
    codes = scheme.grid.encode(blocks, scale, zero_point)
    squared = scheme.grid.decode(codes, scale, zero_point).sub_(blocks).square_()
    return (squared if importance is None else squared * importance).sum(-1)
