"""Activations whose codes were fixed when a model was quantized, as the kernels take them."""

from tersor.errors import FormatError
from tersor.grids import Granularity, Scheme
from tersor.runtime.artifact import Artifact
from tersor.runtime.linears.panels import FixedInput


def is_static_for_kernels(scheme: Scheme) -> bool:
    """Whether a scheme fixes activations in a way that the kernels have."""
    activations = scheme.activations
    if activations is None or activations.dynamic:
        return False
    grid = activations.tensor.grid
    return (
        activations.tensor.granularity is Granularity.TENSOR
        and grid.bits == 8
        and grid.integers is not None
        and not grid.integers.signed_scale
    )


def fixed_input(artifact: Artifact, module: str) -> FixedInput | None:
    """How a module's activations were fixed; ``None`` if the kernels find their range.

    Raises :class:`FormatError` if the scheme fixes it and the artifact does not say how.
    """
    scheme = artifact.schemes[module]
    if not is_static_for_kernels(scheme):
        return None
    stored, activations = artifact.input(module), scheme.activations
    if stored is None:
        raise FormatError(f"{module} has static activations, but no tensor {module}.input_scale")
    assert activations is not None
    codes = activations.tensor.grid.integers
    assert codes is not None
    zero = codes.zero if stored.zero_point is None else int(stored.zero_point)
    return FixedInput(float(stored.scale), zero - codes.zero, codes.lowest - codes.zero)
