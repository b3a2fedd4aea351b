"""Native linears in place of a transformers model's."""

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from tersor.grids import Granularity, Grid, Scheme
from tersor.models.in_transformers.in_memory import modules_in_memory
from tersor.runtime.artifact import Artifact
from tersor.runtime.linears.packing import has_kernel, pack_linear
from tersor.runtime.linears.panels import ACTIVATION_GROUP, PackedLinear
from tersor.runtime.linears.quant_linear import QuantLinear, WeightOnlyLinear
from tersor.runtime.linears.static_input import fixed_input, is_static_for_kernels
from tersor.runtime.packed.cache import PackedCache


def use_kernels(
    model: nn.Module,
    artifact: Artifact,
    *,
    activation_bits: int = 8,
    cache: PackedCache | None = None,
) -> dict[str, str]:
    """Replace the quantized linears of ``model``, as ``tersor.load`` made it from ``artifact``.

    Integer weights in groups take activations in the same groups; others take them in groups of 64,
    or per token where the scheme says so. With 16 bits only schemes that quantize activations have
    them rounded; codebooks never have. ``cache``: the artifact's, made before it was opened; by
    default nothing is kept. Returns the quantized modules that stay with torch, and why.
    """
    modules = dict(model.named_modules())
    names = modules_in_memory(model, artifact.schemes)
    left: dict[str, str] = {}
    for name, scheme in artifact.schemes.items():
        module = modules.get(names.get(name, name))
        if isinstance(module, nn.Embedding):
            continue  # rows are looked up: there is nothing to multiply
        reason = _why_not(module, scheme)
        if reason:
            left[name] = reason
            continue
        assert module is not None
        bias = module.bias
        given = bias if isinstance(bias, Tensor) else None
        make = partial(packed_of, artifact, name)
        packed = make() if cache is None else cache.linear(name, make)
        rounded = activation_bits == 8 or scheme.activations is not None
        if rounded and packed.levels is None:
            native: nn.Module = QuantLinear(packed, given)
        else:
            native = WeightOnlyLinear(packed, given)
        model.set_submodule(names.get(name, name), native)
    if cache is not None:
        cache.save()
    return left


def packed_of(artifact: Artifact, name: str) -> PackedLinear:
    """A linear of an artifact, packed anew, and what its scheme does to activations."""
    found = artifact.linear(name)
    rounded = found.scheme.activations is not None
    packed = pack_linear(found.weight, None if rounded else ACTIVATION_GROUP)
    return replace(packed, rounded=rounded, fixed=fixed_input(artifact, name))


def _why_not(module: nn.Module | None, scheme: Scheme) -> str:
    """Why there is no kernel for a linear; empty if there is one."""
    if module is None:
        return "the model holds no module for it: experts are one tensor in memory"
    if not isinstance(module, nn.Linear) and type(module).__name__ != "Conv1D":
        return f"the model's {type(module).__name__} of that name is no linear"
    if isinstance(module, nn.Linear) and type(module).forward is not nn.Linear.forward:
        return f"{type(module).__name__} multiplies in its own way"
    grid, activations = scheme.weights.grid, scheme.activations
    if not has_kernel(grid):
        return f"no kernel for weights on the grid {grid.name}"
    if activations is not None and not is_the_kernels(scheme):
        return f"no kernel for activations {activations}"
    return ""


def is_the_kernels(scheme: Scheme) -> bool:
    """Whether a scheme that rounds activations does so just as the kernels do."""
    activations = scheme.activations
    if activations is None or scheme.weights.grid.integers is None:
        return False
    if not activations.dynamic:
        return is_static_for_kernels(scheme)
    tensor = activations.tensor
    return (
        scheme.weights.granularity is not Granularity.GROUP
        and tensor.granularity is Granularity.TOKEN
        and tensor.grid.symmetric
        and _goes_to_127_both_ways(tensor.grid)
    )


def _goes_to_127_both_ways(grid: Grid) -> bool:
    codes = grid.integers
    return codes is not None and codes.zero - codes.lowest == codes.highest - codes.zero == 127
