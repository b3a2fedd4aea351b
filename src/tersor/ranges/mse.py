"""Shrink the range to where the squared error, or another power of it, is smallest.

The search over shrink factors of the GPTQ reference (https://arxiv.org/abs/2210.17323). The full
range is among the candidates, so the error that is minimised never exceeds min-max's. That is the
error of the weights, not of the model: cutting off the largest weights makes every output smaller
in the same direction, which costs a model more than its share of the squared error. A norm above 2
(the GPTQ reference has 2.4) makes clipping dearer.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor import _native
from tersor.errors import RecipeError
from tersor.grids import ScaleFormat, ScaleStorage, TensorScheme, fit
from tersor.grids.blocks import with_contiguous_values
from tersor.ranges.estimator import BaseRange, Bounds
from tersor.ranges.minmax import MinMax


@dataclass(frozen=True)
class MeanSquaredError(BaseRange):
    """Best of ``steps`` factors from 1 down to ``smallest``, for each block on its own.

    ``norm``: the power of the absolute error that is summed; 2 is the mean squared error.
    """

    steps: int = 40
    smallest: float = 0.4
    norm: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.smallest <= 1 or self.norm < 1:
            raise RecipeError(
                f"range mse: steps {self.steps}, smallest {self.smallest}, norm {self.norm}; "
                "steps and norm must be at least 1, smallest within (0, 1]"
            )

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        low, high = MinMax().bounds(blocks, scheme, storage)
        if scheme.scale_format.levels is not None:
            # What is shared with other groups is not known before the range is.
            scheme = replace(scheme, scale_format=ScaleFormat.FLOAT)
            storage = ScaleStorage(torch.float32)
        factors = torch.linspace(1.0, self.smallest, self.steps)
        # Histograms come with centres of double precision; they are single blocks.
        integers = scheme.grid.integers is not None and not scheme.grid.has_minima
        fast = integers and blocks.dtype == torch.float32
        search = best_factors if fast else best_factors_reference
        best = search(blocks, (low, high), factors, scheme, storage, importance, self.norm)
        return low * best, high * best


def best_factors(
    blocks: Tensor,
    bounds: Bounds,
    factors: Tensor,
    scheme: TensorScheme,
    storage: ScaleStorage,
    importance: Tensor | None,
    norm: float,
) -> Tensor:
    """The first factor with the smallest error for each block, float32 ``(rows, groups)``.

    ``blocks``: float32 ``(rows, groups, size)``, for a grid of integers. ``bounds``: their ranges,
    each ``(rows, groups)``. ``factors``: float32 ``(steps,)``. ``importance``: broadcastable to
    ``blocks``. The same for any number of threads; the calling one does all the work.
    """
    codes = scheme.grid.integers
    assert codes is not None
    low, high = (ends.unsqueeze(-1) * factors for ends in bounds)  # (rows, groups, steps)
    parameters = fit(scheme, low, high, storage)
    zero = parameters.zero_point
    lowest = torch.full((1, 1, 1), float(codes.lowest - codes.zero))
    if zero is not None:
        lowest = codes.lowest - zero.float()
    if importance is None:
        importance = torch.ones(blocks.shape[-1])
    best = torch.empty(blocks.shape[:2], dtype=torch.int64)
    _native.range_search(
        with_contiguous_values(blocks).numpy(),
        with_contiguous_values(importance.float().expand_as(blocks)).numpy(),
        parameters.scale.value().numpy(),
        lowest.numpy(),
        codes.highest - codes.lowest,
        norm,
        best.numpy(),
    )
    return factors[best]


def best_factors_reference(
    blocks: Tensor,
    bounds: Bounds,
    factors: Tensor,
    scheme: TensorScheme,
    storage: ScaleStorage,
    importance: Tensor | None,
    norm: float,
) -> Tensor:
    """What :func:`best_factors` computes, factor after factor; for every grid."""
    low, high = bounds
    best_total = torch.full_like(low, torch.inf)
    best_factor = torch.ones_like(low)
    for factor in factors.tolist():
        error = _error(blocks, scheme, storage, (low * factor, high * factor))
        loss = _power(error, norm)
        total = (loss if importance is None else loss * importance).sum(-1)
        better = total < best_total
        best_total = torch.where(better, total, best_total)
        best_factor = torch.where(better, factor, best_factor)
    return best_factor


def _error(blocks: Tensor, scheme: TensorScheme, storage: ScaleStorage, bounds: Bounds) -> Tensor:
    """What the blocks lose when their range is ``bounds``; a new tensor shaped like them."""
    parameters = fit(scheme, *bounds, storage)
    scale = parameters.scale.value().unsqueeze(-1)
    zero_point = None if parameters.zero_point is None else parameters.zero_point.unsqueeze(-1)
    codes = scheme.grid.encode(blocks, scale, zero_point)
    return scheme.grid.decode(codes, scale, zero_point).sub_(blocks)


def _power(error: Tensor, norm: float) -> Tensor:
    """``|error|^norm`` in place; a general power costs ten times what a square does."""
    match norm:
        case 2:
            return error.square_()
        case 4:
            return error.square_().square_()
        case _:
            return error.abs_().pow_(norm)
