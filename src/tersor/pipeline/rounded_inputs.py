"""Activation quantization while a model is calibrated: later linears see what earlier ones lost."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from tersor.formats import InputParameters
from tersor.pipeline.parts import BlockParts
from tersor.pipeline.plan import ModulePlan
from tersor.runtime.activations import fake_quantize


@contextmanager
def rounded_inputs(
    parts: BlockParts, decided: Mapping[str, InputParameters | None]
) -> Iterator[None]:
    """Make a block's linears read their inputs as the artifact will round them.

    That begins for each when it is in ``decided`` (by module, with the range if that is static),
    which may grow meanwhile. Hooks that are prepended see the inputs unrounded. Linears whose
    scheme leaves activations alone are not touched, nor are experts in a fused tensor, nor tokens
    that are not finite.
    """
    with ExitStack() as stack:
        for stage in parts.stages:
            for path, name in zip(stage.modules, stage.weights, strict=False):
                hook = partial(_round, parts.modules[name], decided)
                linear = parts.call.block.get_submodule(path)
                stack.callback(linear.register_forward_pre_hook(hook).remove)
        yield


def _round(
    module: ModulePlan,
    decided: Mapping[str, InputParameters | None],
    _: nn.Module,
    arguments: tuple[Tensor, ...],
) -> tuple[Tensor, ...] | None:
    activations = None if module.scheme is None else module.scheme.activations
    if activations is None or module.module not in decided:
        return None
    x, given = arguments[0], decided[module.module]
    finite = x.isfinite().all(-1)
    if not bool(finite.any()):
        return None
    if bool(finite.all()):
        return (fake_quantize(x, activations, given), *arguments[1:])
    rounded = x.clone()
    rounded[finite] = fake_quantize(x[finite], activations, given)
    return (rounded, *arguments[1:])
