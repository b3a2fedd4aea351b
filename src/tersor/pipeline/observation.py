"""What is gathered of a linear's input while its stage lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.calibration.statistics import MeanSquare, MinMax, MovingMinMax, RunningHistogram
from tersor.calibration.statistics.hessian import second_moment
from tersor.calibration.statistics.statistic import Several
from tersor.pipeline.activations import InputStatistics
from tersor.pipeline.plan import ModulePlan
from tersor.ranges import ImportanceWeighted, MovingAverage
from tersor.recipes import Recipe
from tersor.rounding import Nearest


@dataclass(frozen=True, eq=False)
class Observation:
    """Statistics of the rows that the linears of one stage read.

    ``hessian``: ``E[x xᵀ]`` fp32 ``(in, in)``; ``mean_square``: ``E[x_j²]``, its diagonal;
    ``mean``: ``E[x_j]``; both fp32 ``(in,)``. ``static``: for ranges of static activations. Each is
    ``None`` if nobody asked for it.
    """

    tokens: int
    hessian: Tensor | None
    mean_square: Tensor | None
    mean: Tensor | None
    static: InputStatistics | None


def observe(inputs: Sequence[Tensor], modules: Sequence[ModulePlan], recipe: Recipe) -> Observation:
    """Gather what ``recipe`` needs to know about the inputs ``(tokens, in)`` of ``modules``.

    Raises :class:`~tersor.errors.SourceError` if a static range would not be finite.
    """
    hessian = None
    mean_square = None
    if not isinstance(recipe.rounding, Nearest):
        hessian = second_moment(inputs)
        mean_square = hessian.diagonal().clone()
    elif any(isinstance(module.range, ImportanceWeighted) for module in modules):
        mean_square = _mean(inputs, square=True)
    static = any(_is_static(module) for module in modules)
    return Observation(
        tokens=sum(len(x) for x in inputs),
        hessian=hessian,
        mean_square=mean_square,
        mean=_mean(inputs) if recipe.bias_correction else None,
        static=_static(inputs, recipe) if static else None,
    )


def _mean(inputs: Sequence[Tensor], *, square: bool = False) -> Tensor:
    """Mean over all rows, fp64 sums in the order of the pieces."""
    total = torch.zeros(inputs[0].shape[-1], dtype=torch.float64)
    for x in inputs:
        values = x.float()
        total += (values.square() if square else values).sum(0, dtype=torch.float64)
    return (total / max(1, sum(len(x) for x in inputs))).float()


def _is_static(module: ModulePlan) -> bool:
    activations = None if module.scheme is None else module.scheme.activations
    return activations is not None and not activations.dynamic


def _static(inputs: Sequence[Tensor], recipe: Recipe) -> InputStatistics:
    chosen = recipe.activation_range
    momentum = chosen.momentum if isinstance(chosen, MovingAverage) else MovingAverage().momentum
    observer = Several(
        {
            "range": MinMax(),
            "moving": MovingMinMax(momentum),
            "histogram": RunningHistogram(),
            "mean_square": MeanSquare(),
        }
    )
    window = recipe.calibration.window
    for x in inputs:
        for start in range(0, len(x), window):
            observer.update(x[start : start + window])
    found: dict[str, Any] = observer.result()
    return InputStatistics(
        bounds=_bounds(found["range"]),
        moving=_bounds(found["moving"]),
        centres=found["histogram"].centres.float(),
        counts=found["histogram"].counts.float(),
        mean_square=found["mean_square"].values.float(),
    )


def _bounds(seen: Any) -> tuple[Tensor, Tensor]:
    ends = (seen.tensor_minimum, seen.tensor_maximum)
    low, high = (Tensor([[end]]) for end in ends)
    return low, high
