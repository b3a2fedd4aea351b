"""Ranges of static activations: from what calibration saw to the scale that is stored."""

from tersor.errors import RecipeError
from tersor.formats import InputParameters
from tersor.grids import ScaleStorage, fit
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import Range, Stream


def static_input(
    module: ModulePlan, seen: Stream | None, estimator: Range
) -> InputParameters | None:
    """Scale and zero point of a module's input; ``None`` if its activations are not static.

    Raises :class:`RecipeError` if nothing was seen of the module.
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
    low, high = estimator.of_stream(seen, activations.tensor, storage)
    parameters = fit(activations.tensor, low, high, storage)
    zero_point = parameters.zero_point
    return InputParameters(
        parameters.scale.data.reshape(1),
        None if zero_point is None else zero_point.reshape(1),
    )
