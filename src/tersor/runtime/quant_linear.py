"""Linears of a transformers model on tersor's native kernels."""

from torch import Tensor, nn

from tersor.formats import QuantizedLinear
from tersor.grids import ActivationScheme, Granularity, IntegerGrid, Symmetry
from tersor.runtime.artifact import Artifact
from tersor.runtime.kernels import PackedLinear, linear, pack_linear

# Columns of a token that share a scale where the weight does not say: few enough for a token's
# largest value not to drown the others.
ACTIVATION_GROUP = 64


class QuantLinear(nn.Module):
    """``x Wᵀ + b`` with integer weights and activations rounded to int8 on the way.

    Takes ``(…, in)`` of any float type and returns ``(…, out)`` of the same. There is no
    ``weight``: it cannot be trained.
    """

    def __init__(self, packed: PackedLinear, bias: Tensor | None) -> None:
        """``bias``: ``(out,)``."""
        super().__init__()
        self.packed = packed
        self.in_features, self.out_features = packed.columns, packed.rows
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        """Inference only: no gradient passes."""
        y = linear(x.detach(), self.packed)
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
    left: dict[str, str] = {}
    for name in artifact.schemes:
        found = artifact.linear(name)
        reason = _why_not(modules.get(name), found)
        if reason:
            left[name] = reason
            continue
        activations = found.scheme.activations
        group = ACTIVATION_GROUP if activations is None else None
        bias = modules[name].bias
        packed = pack_linear(found.weight, group)
        replaced = QuantLinear(packed, bias if isinstance(bias, Tensor) else None)
        model.set_submodule(name, replaced)
    return left


def _why_not(module: nn.Module | None, found: QuantizedLinear) -> str:
    """Why there is no kernel for a linear; empty if there is one."""
    if module is None:
        return "the model holds no module of that name"
    grid, activations = found.scheme.weights.grid, found.scheme.activations
    if not isinstance(grid, IntegerGrid):
        return f"no integer kernel for {grid.name}"
    if activations is not None and not is_the_kernels(activations, found):
        return f"no kernel for activations {activations}"
    return ""


def is_the_kernels(activations: ActivationScheme, found: QuantizedLinear) -> bool:
    """Whether a scheme rounds activations just as the kernels do."""
    scheme = activations.tensor
    plain = found.scheme.weights.granularity is not Granularity.GROUP
    return (
        activations.dynamic
        and plain
        and scheme.granularity is Granularity.TOKEN
        and isinstance(scheme.grid, IntegerGrid)
        and scheme.grid.bits == 8
        and scheme.grid.symmetry is Symmetry.RESTRICTED
    )
