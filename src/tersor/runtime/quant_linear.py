"""Linears of a transformers model on tersor's native kernels."""

from functools import partial

from torch import Tensor, nn

from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry
from tersor.runtime.artifact import Artifact
from tersor.runtime.kernels import FixedInput, PackedLinear, linear, pack_linear
from tersor.runtime.packed_cache import PackedCache
from tersor.runtime.static_input import fixed_input, is_static_for_kernels, with_zero

# Columns of a token that share a scale where the weight does not say: few enough for a token's
# largest value not to drown the others.
ACTIVATION_GROUP = 64


class QuantLinear(nn.Module):
    """``x Wᵀ + b`` with integer weights and activations rounded to int8 on the way.

    Takes ``(…, in)`` of any float type and returns ``(…, out)`` of the same. There is no
    ``weight``: it cannot be trained.
    """

    def __init__(
        self, packed: PackedLinear, bias: Tensor | None, fixed: FixedInput | None = None
    ) -> None:
        """``bias``: ``(out,)``. ``fixed``: how activations become codes, if not by their range."""
        super().__init__()
        self.packed, self.fixed = packed, fixed
        bias = with_zero(packed, fixed, bias)
        self.in_features, self.out_features = packed.columns, packed.rows
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """Inference only: no gradient passes."""
        y = linear(x.detach(), self.packed, self.fixed)
        bias = self.bias
        if isinstance(bias, Tensor):
            y += bias
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """What a printed model shows."""
        bits, group = self.packed.bits, self.packed.group
        return f"{self.in_features}, {self.out_features}, bits={bits}, group={group}"


def use_kernels(model: nn.Module, artifact: Artifact) -> dict[str, str]:
    """Replace the quantized linears of ``model``, as ``tersor.load`` made it from ``artifact``.

    Weights in groups take activations in the same groups; others take them in groups of 64, or per
    token where the scheme says so. Returns the quantized modules that stay with torch, and why.
    """
    modules = dict(model.named_modules())
    cache = PackedCache(artifact.source.path)
    left: dict[str, str] = {}
    for name, scheme in artifact.schemes.items():
        reason = _why_not(modules.get(name), scheme)
        if reason:
            left[name] = reason
            continue
        bias = modules[name].bias
        packed = cache.linear(name, partial(packed_of, artifact, name))
        given = bias if isinstance(bias, Tensor) else None
        replaced = QuantLinear(packed, given, fixed_input(artifact, name))
        model.set_submodule(name, replaced)
    cache.save()
    return left


def packed_of(artifact: Artifact, name: str) -> PackedLinear:
    """An integer linear of an artifact, packed anew."""
    found = artifact.linear(name)
    group = ACTIVATION_GROUP if found.scheme.activations is None else None
    return pack_linear(found.weight, group)


def _why_not(module: nn.Module | None, scheme: Scheme) -> str:
    """Why there is no kernel for a linear; empty if there is one."""
    if module is None:
        return "the model holds no module of that name"
    grid, activations = scheme.weights.grid, scheme.activations
    if not isinstance(grid, IntegerGrid):
        return f"no integer kernel for {grid.name}"
    if activations is not None and not is_the_kernels(scheme):
        return f"no kernel for activations {activations}"
    return ""


def is_the_kernels(scheme: Scheme) -> bool:
    """Whether a scheme that rounds activations does so just as the kernels do."""
    activations = scheme.activations
    if activations is None:
        return False
    if not activations.dynamic:
        return is_static_for_kernels(scheme)
    tensor = activations.tensor
    return (
        scheme.weights.granularity is not Granularity.GROUP
        and tensor.granularity is Granularity.TOKEN
        and isinstance(tensor.grid, IntegerGrid)
        and tensor.grid.bits == 8
        and tensor.grid.symmetry is Symmetry.RESTRICTED
    )
