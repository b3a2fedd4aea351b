"""Matrices as each scheme would have them, rounded by the recipe's method."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from tersor.checkpoints.source import Source, shapes_of
from tersor.grids import QuantizedTensor, Scheme, TensorScheme
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import input_groups
from tersor.pipeline.blocks.linear_rounding import round_nearest, round_stage
from tersor.pipeline.blocks.observation import needed, observe
from tersor.pipeline.planning import ModulePlan, Plan, make_plan
from tersor.pipeline.planning.layout import with_scheme
from tersor.pipeline.sensitivity.estimates.gradients import Seen
from tersor.recipes import Recipe
from tersor.rounding import Gptq, Rounded

Label = str
"""The label of a candidate: ``w4``, ``w3g32``."""
Wanted = Callable[[str, Label], bool]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What there is to choose from: every matrix by every scheme, by label and module.

    ``recipe``: how matrices are rounded. ``plan``: of the model by one of the schemes.
    """

    recipe: Recipe
    plan: Plan
    schemes: Mapping[Label, TensorScheme]
    modules: Mapping[Label, Mapping[str, ModulePlan]]

    @property
    def architecture(self) -> Architecture:
        """Of the model."""
        return self.plan.architecture

    @property
    def reads_inputs(self) -> bool:
        """Whether what linears read decides how they are rounded."""
        return any(needed(self.recipe, list(modules.values())) for modules in self.modules.values())

    def names(self) -> list[str]:
        """All modules, in the model's order."""
        return [module.module for module in self.plan.quantized()]

    def pairs(self) -> list[tuple[str, Label]]:
        """Module and label of all candidates, label by label."""
        return [(name, label) for label, of in self.modules.items() for name in of]


def candidates(
    source: Source,
    recipe: Recipe,
    variants: Mapping[Label, Recipe],
    wanted: Wanted = lambda _, __: True,
) -> Candidates:
    """Every linear by the schemes of ``variants`` of one recipe; head and embedding likewise.

    But for what the recipe excludes. ``wanted``: called with module and label.
    Raises as :func:`make_plan` does.
    """
    added = outside_of(describe(source.config, shapes_of(source)))
    first = next(iter(variants.values()))
    plan = make_plan(source, replace(first, include=(*first.include, *added)))
    schemes = {label: variant.scheme.weights for label, variant in variants.items()}
    modules = {
        label: {
            module.module: with_scheme(tensor, module, Scheme(scheme), plan.written_as)
            for unit in plan.units
            for tensor in unit.tensors
            for module in tensor.modules
            if module.scheme is not None and wanted(module.module, label)
        }
        for label, scheme in schemes.items()
    }
    return Candidates(recipe, plan, schemes, modules)


def outside_of(architecture: Architecture) -> tuple[str, ...]:
    """Modules outside the blocks that a recipe may include: embedding, and head if it is another.

    A head that is stored though the config ties it is nobody's.
    """
    head = None if architecture.tied else architecture.head
    return tuple(
        name.removesuffix(".weight") for name in (architecture.embedding, head) if name is not None
    )


def alone(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """The recipe with what rounds one matrix by itself, and notes on what was left out."""
    rounding = recipe.rounding
    if isinstance(rounding, Gptq):
        rounding = replace(rounding, drift=False)
    elif rounding.learner is not None:
        rounding = Gptq()
    names = ("scaling", "correction", "training")
    left = [name for name in names if getattr(recipe, name) is not None]
    if rounding != recipe.rounding:
        left.append("what its rounding learns of the whole model")
    notes = [f"measured without the recipe's {', '.join(left)}"] if left else []
    if recipe.scheme.activations is not None:
        notes.append("activations are left alone: of weights only is measured what they cost")
    plain = replace(
        recipe,
        scheme=Scheme(recipe.scheme.weights),
        scaling=None,
        correction=None,
        training=None,
        rounding=rounding,
        overrides=tuple(one for one in recipe.overrides if one.scheme is None),
    )
    return plain, notes


def rounded_block(
    found: Candidates,
    source: Source,
    weights: Mapping[str, Tensor],
    seen: Seen,
    block: int,
    scored: int,
) -> dict[tuple[str, Label], QuantizedTensor]:
    """The linears of one block by every scheme.

    ``weights``: ``(out, in)`` by published name. ``seen``: what they read, of which
    rounding looks at the windows behind the first ``scored``: what it fits to shall not be what it
    is measured on. A linear that nothing reached is rounded to nearest.
    """
    result: dict[tuple[str, Label], QuantizedTensor] = {}
    for group in _groups(source, found.architecture, block, weights):
        for label, modules in found.modules.items():
            members = {
                name: modules[module]
                for name in group
                if (module := name.removesuffix(".weight")) in modules
            }
            for module, rounded in _rounded(found.recipe, members, weights, seen, scored).items():
                result[module, label] = rounded.tensor
    return result


def rounded_alone(module: ModulePlan, weight: Tensor) -> QuantizedTensor:
    """A matrix outside the blocks: rounded to nearest."""
    return round_nearest(module, weight, module.scale_type).tensor


def _rounded(
    recipe: Recipe,
    members: Mapping[str, ModulePlan],
    weights: Mapping[str, Tensor],
    seen: Seen,
    scored: int,
) -> dict[str, Rounded]:
    if not members:
        return {}
    plans = list(members.values())
    jobs = {plan.module: (plan, weights[name], plan.scale_type) for name, plan in members.items()}
    needs = needed(recipe, plans)
    first = next(iter(members))
    inputs = [window.x for window in seen.get(first, ()) if window.number >= scored]
    if not needs or not sum(map(len, inputs)):
        return {name: round_nearest(*job) for name, job in jobs.items()}
    observed = observe(inputs, needs, plans[0].module)
    return round_stage(jobs, observed, recipe.rounding)


def _groups(
    source: Source, architecture: Architecture, block: int, weights: Mapping[str, Tensor]
) -> Iterable[Sequence[str]]:
    """Linears that share an input; each alone where their tensors were seen apart."""
    shapes: dict[str, tuple[int, ...]] = {}
    for info in source.tensors.values():
        if architecture.block_of(info.name) == block:
            shapes |= unfused_shapes(architecture, info.name, info.shape)
    groups = input_groups(architecture, shapes, block)
    return [[name for name in group if name in weights] for group in groups]
