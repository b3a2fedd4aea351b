"""The output head, where a recipe includes it: its input is what the final norm gives."""

from collections.abc import Sequence

from torch import Tensor

from tersor.checkpoints.source import Source
from tersor.models.architecture import Role
from tersor.pipeline.blocks.linear_rounding import round_stage
from tersor.pipeline.blocks.observation import needed, observe
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.planning import ModulePlan, Plan, Unit


def quantized_head(plan: Plan, unit: Unit) -> ModulePlan | None:
    """The head, if it is in ``unit`` and quantized. An embedding is no head, tied or not."""
    for tensor in unit.tensors:
        for module in tensor.modules:
            role = plan.architecture.role(f"{module.module}.weight", module.shape)
            if role is Role.HEAD and module.scheme is not None:
                return module
    return None


def head_work(source: Source, plan: Plan, unit: Unit, inputs: Sequence[Tensor]) -> Work:
    """Round a quantized head by the recipe's method; any other unit needs no work.

    ``inputs``: the final norm's output in pieces ``(tokens, hidden)``.
    """
    module = quantized_head(plan, unit)
    if module is None:
        return Work()
    name = f"{module.module}.weight"
    needs, window = needed(plan.recipe, [module]), plan.recipe.calibration.window
    observed = observe(inputs, needs, module.module, window)
    weight = source.read([name])[name]
    modules = {module.module: (module, weight, module.scale_type)}
    rounded = round_stage(modules, observed, plan.recipe.rounding)
    return Work(rounded=rounded, seen={module.module: Seen(observed.tokens, observed.stream)})
