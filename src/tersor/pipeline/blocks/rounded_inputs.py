"""Activation quantization while a model is calibrated: later linears see what earlier ones lost."""

from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn

from tersor.pipeline.blocks.parts import BlockParts
from tersor.pipeline.planning import ModulePlan
from tersor.runtime.linears.simulated_inputs import fake_quantize


@contextmanager
def rounded_inputs(parts: BlockParts, decided: Container[str]) -> Iterator[None]:
    """Make a block's linears read their inputs as the artifact will round them.

    That begins for each when its module is in ``decided``, which may grow meanwhile. Hooks that are
    prepended see the inputs unrounded. Not touched are linears whose scheme leaves activations
    alone, experts in a fused tensor, and tokens that are not finite; nor static activations, whose
    ranges would become wider (docs/log.md).
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
    decided: Container[str],
    _: nn.Module,
    arguments: tuple[Tensor, ...],
) -> tuple[Tensor, ...] | None:
    activations = None if module.scheme is None else module.scheme.activations
    if activations is None or not activations.dynamic or module.module not in decided:
        return None
    x = arguments[0]
    finite = x.isfinite().all(-1)
    if not bool(finite.any()):
        return None
    if bool(finite.all()):
        return (fake_quantize(x, activations, None), *arguments[1:])
    rounded = x.clone()
    rounded[finite] = fake_quantize(x[finite], activations, None)
    return (rounded, *arguments[1:])
