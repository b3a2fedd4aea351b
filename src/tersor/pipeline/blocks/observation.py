"""What is gathered of a linear's input while its stage lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.calibration.statistics import MeanSquare, MinMax, MovingMinMax, RunningHistogram
from tersor.calibration.statistics.hessian import second_moment
from tersor.calibration.statistics.statistic import Several
from tersor.errors import SourceError
from tersor.machine.parallel import in_order
from tersor.pipeline.blocks.static_ranges import InputStatistics
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import ImportanceWeighted, MovingAverage
from tersor.recipes import Recipe
from tersor.transforms import ClipSearch


@dataclass(frozen=True, eq=False)
class Drift:
    """How the quantized blocks before a stage have changed what it reads and adds to.

    x̃ is what the original model reads at the stage and x what the quantized one does.
    ``inputs``: ``E[(x̃ − x) xᵀ]`` fp32 ``(in, in)``. ``stream``: ``E[(h̃ − h) xᵀ]`` fp32
    ``(hidden, in)`` with h the residual stream that the stage's output is added to; ``None`` where
    it is added to nothing.
    """

    inputs: Tensor
    stream: Tensor | None


@dataclass(frozen=True, eq=False)
class Observation:
    """Statistics of the rows that the linears of one stage read.

    ``hessian``: ``E[x xᵀ]`` fp32 ``(in, in)``; ``mean_square``: ``E[x_j²]``, its diagonal;
    ``mean``: ``E[x_j]``; both fp32 ``(in,)``. ``drift``: from the original model. ``static``: for
    ranges of static activations. Each is ``None`` if nobody asked for it.
    """

    tokens: int
    hessian: Tensor | None
    mean_square: Tensor | None
    mean: Tensor | None
    drift: Drift | None
    static: InputStatistics | None


def observe(
    inputs: Sequence[Tensor],
    modules: Sequence[ModulePlan],
    recipe: Recipe,
    drift: Drift | None = None,
) -> Observation:
    """Gather what ``recipe`` needs to know about the inputs ``(tokens, in)`` of ``modules``.

    ``drift``: how the original model differs at these linears, if it is compared with.

    Raises :class:`~tersor.errors.SourceError` if a static range would not be finite.
    """
    hessian = None
    mean_square = None
    if recipe.second_order is not None or any(isinstance(m.range, ClipSearch) for m in modules):
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
        drift=drift,
        static=_static(inputs, recipe, modules[0].module) if static else None,
    )


def as_multiplied(inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The inputs in the type in which linears multiply them."""
    return list(in_order(lambda x: x.to(dtype), inputs))


def _mean(inputs: Sequence[Tensor], *, square: bool = False) -> Tensor:
    """Mean over all rows, fp64 sums in the order of the pieces."""

    def summed(x: Tensor) -> Tensor:
        values = x.float()
        return (values.square() if square else values).sum(0, dtype=torch.float64)

    total = torch.zeros(inputs[0].shape[-1], dtype=torch.float64)
    for partial in in_order(summed, inputs):
        total += partial
    return (total / max(1, sum(len(x) for x in inputs))).float()


def _is_static(module: ModulePlan) -> bool:
    activations = None if module.scheme is None else module.scheme.activations
    return activations is not None and not activations.dynamic


def _static(inputs: Sequence[Tensor], recipe: Recipe, name: str) -> InputStatistics:
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
            try:
                observer.update(x[start : start + window])
            except SourceError as error:
                raise SourceError(f"input of {name}: {error}") from error
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
