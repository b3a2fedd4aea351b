"""What is gathered of a linear's input while its stage lasts."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tersor.calibration.statistics import RunningHistogram, WindowRanges
from tersor.calibration.statistics.hessian import second_moment
from tersor.calibration.statistics.statistic import Several
from tersor.errors import SourceError
from tersor.machine.parallel import in_order
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import Drift, Need, Needs, Observation, Stream, all_needs
from tersor.recipes import Recipe

_SAMPLE = 512


def needed(recipe: Recipe, modules: Sequence[ModulePlan]) -> Needs:
    """What ``recipe`` needs to know about the inputs of ``modules``."""
    needs = [module.range.needs for module in modules if module.range is not None]
    needs.append(recipe.rounding.needs)
    if recipe.correction is not None:
        needs.append(recipe.correction.needs)
    if any(_is_static(module) for module in modules):
        needs.append(frozenset({Need.STREAM}))
    return all_needs(needs)


def observe(
    inputs: Sequence[Tensor],
    needs: Needs,
    name: str,
    window: int | None = None,
    drift: Drift | None = None,
) -> Observation:
    """Gather what is needed to know about the inputs ``(tokens, in)`` of linears.

    ``name``: of one of them, for errors. ``window``: tokens that are one window of a stream, if one
    is needed. ``drift``: how the original model differs at these linears, if it is compared with.

    Raises :class:`~tersor.errors.SourceError` if a static range would not be finite.
    """
    hessian = second_moment(inputs) if Need.SECOND_MOMENTS in needs else None
    mean_square = None
    if hessian is not None:
        mean_square = hessian.diagonal().clone()
    elif Need.MEAN_SQUARE in needs:
        mean_square = _mean(inputs, torch.square)
    return Observation(
        tokens=sum(len(x) for x in inputs),
        hessian=hessian,
        mean_square=mean_square,
        mean=_mean(inputs) if Need.MEAN in needs else None,
        mean_magnitude=_mean(inputs, torch.abs) if Need.MEAN_MAGNITUDE in needs else None,
        largest=_largest(inputs) if Need.LARGEST in needs else None,
        sample=_sample(inputs) if Need.SAMPLE in needs else None,
        drift=drift,
        stream=_stream(inputs, name, window) if window and Need.STREAM in needs else None,
    )


def as_multiplied(inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The inputs in the type in which linears multiply them."""
    return list(in_order(lambda x: x.to(dtype), inputs))


def _mean(inputs: Sequence[Tensor], of: Callable[[Tensor], Tensor] = torch.positive) -> Tensor:
    """Mean over all rows of a function of them, fp64 sums in the order of the pieces."""

    def summed(x: Tensor) -> Tensor:
        return of(x.float()).sum(0, dtype=torch.float64)

    total = torch.zeros(inputs[0].shape[-1], dtype=torch.float64)
    for partial in in_order(summed, inputs):
        total += partial
    return (total / max(1, sum(len(x) for x in inputs))).float()


def _largest(inputs: Sequence[Tensor]) -> Tensor:
    largest = torch.zeros(inputs[0].shape[-1])
    for found in in_order(lambda x: x.float().abs().amax(0), [x for x in inputs if len(x)]):
        largest = torch.maximum(largest, found)
    return largest


def _sample(inputs: Sequence[Tensor]) -> Tensor:
    """Rows evenly spaced over all pieces."""
    step = max(1, sum(len(x) for x in inputs) // _SAMPLE)
    return torch.cat([x[::step].float() for x in inputs])


def _is_static(module: ModulePlan) -> bool:
    activations = None if module.scheme is None else module.scheme.activations
    return activations is not None and not activations.dynamic


def _stream(inputs: Sequence[Tensor], name: str, window: int) -> Stream:
    observer = Several({"ranges": WindowRanges(), "histogram": RunningHistogram()})
    for x in inputs:
        for start in range(0, len(x), window):
            try:
                observer.update(x[start : start + window])
            except SourceError as error:
                raise SourceError(f"input of {name}: {error}") from error
    found: dict[str, Any] = observer.result()
    lows, highs = found["ranges"]
    histogram = found["histogram"]
    return Stream(lows, highs, histogram.centres.float(), histogram.counts.float())
