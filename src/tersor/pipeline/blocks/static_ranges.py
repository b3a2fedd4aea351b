"""Ranges of static activations: from what calibration saw to the scale that is stored."""

from dataclasses import dataclass

from torch import Tensor

from tersor.errors import RecipeError
from tersor.formats import InputParameters
from tersor.grids import ScaleStorage, fit
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import Bounds, MinMax, MovingAverage
from tersor.recipes import AnyRange


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """What calibration saw of one linear's input.

    - ``bounds``: smallest and largest value, float32 ``(1, 1)`` each; ``moving``: their exponential
      average over batches
    - ``centres``, ``counts``: histogram, float32 ``(bins,)``
    - ``mean_square``: ``E[x_j²]``, float32 ``(in,)``
    """

    bounds: Bounds
    moving: Bounds
    centres: Tensor
    counts: Tensor
    mean_square: Tensor


def static_input(
    module: ModulePlan, seen: InputStatistics | None, estimator: AnyRange
) -> InputParameters | None:
    """Scale and zero point of a module's input; ``None`` if its activations are not static.

    The histogram stands for the values it counted: an estimator sees bin centres weighted by
    counts. Raises :class:`RecipeError` if nothing was seen of the module.
    """
    activations = None if module.scheme is None else module.scheme.activations
    if activations is None or activations.dynamic:
        return None
    if seen is None:
        raise RecipeError(
            f"{module.module}: static activations need calibration, and no token reached it; "
            "give more text with --calibration, or exclude it"
        )
    storage = ScaleStorage(module.scale_type)
    match estimator:
        case MinMax():
            low, high = seen.bounds
        case MovingAverage():
            low, high = seen.moving
        case _:
            blocks = seen.centres.reshape(1, 1, -1)
            low, high = estimator.bounds(blocks, activations.tensor, storage, seen.counts)
    parameters = fit(activations.tensor, low, high, storage)
    zero_point = parameters.zero_point
    return InputParameters(
        parameters.scale.data.reshape(1),
        None if zero_point is None else zero_point.reshape(1),
    )
