"""What there is to choose: matrices that share a choice, and schemes for each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from tersor.allocation import Group, Option
from tersor.checkpoints.source import Source
from tersor.errors import OptionError
from tersor.families.blocks import canonical
from tersor.grids import TensorScheme
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import input_groups
from tersor.pipeline.planning import ModulePlan, Plan
from tersor.pipeline.sensitivity.candidates import (
    Candidates,
    Label,
    alone,
    candidates,
    outside_of,
)
from tersor.pipeline.sensitivity.labels import has_widths, variants
from tersor.recipes import Recipe, matches

KEPT = "kept"
_WIDTHS = (2, 3, 4, 5, 6, 8)
_SMALLEST_GROUP = 32


@dataclass(frozen=True, eq=False)
class Space:
    """Choices for one model and recipe.

    ``bundles``: modules that share a choice, those of blocks; ``outside``: head and embedding, each
    alone, ``optional`` if they may also stay as they are. ``plan``: what the recipe does as it is.
    """

    plan: Plan
    candidates: Candidates
    bundles: tuple[tuple[str, ...], ...]
    outside: tuple[str, ...]
    optional: frozenset[str]
    own_group: int | None

    @property
    def modules(self) -> tuple[str, ...]:
        """Everything that there is a choice for."""
        return (*(module for bundle in self.bundles for module in bundle), *self.outside)

    @property
    def schemes(self) -> Mapping[Label, TensorScheme]:
        """By label."""
        return self.candidates.schemes

    def own_labels(self) -> list[Label]:
        """All widths in the recipe's own groups."""
        return [k for k, scheme in self.schemes.items() if scheme.group_size == self.own_group]

    def outside_labels(self) -> list[Label]:
        """The labels for head and embedding.

        All widths, or one scheme for everything could not be among the uniform ones.
        """
        return self.own_labels()

    def wants(self, module: str, label: Label, labels: Collection[Label]) -> bool:
        """Whether a label may be chosen for a module; ``labels``: of linears of blocks."""
        if module in self.outside:
            return label in self.outside_labels()
        return label in labels and module in self._inside and self._fits(module, label)

    def bytes_of(self, module: str, label: Label) -> int:
        """What a module takes, as a plan says it."""
        if label == KEPT:
            return self._planned[module].stored_bytes
        return self.candidates.modules[label][module].stored_bytes

    def groups(
        self, losses: Mapping[tuple[str, Label], float], labels: Collection[Label]
    ) -> list[Group]:
        """For the solver; ``labels`` inside the blocks. What has no loss is left out."""
        inside = [self._group(bundle, labels, losses) for bundle in self.bundles]
        return [*inside, *(self._outside(module, losses) for module in self.outside)]

    def bounds(self, labels: Collection[Label]) -> tuple[int, int]:
        """The least and the most bytes that choices among ``labels`` take."""
        groups = self.groups(_Nothing(), labels)
        sizes = [[option.bytes for option in group.options] for group in groups]
        return sum(map(min, sizes)), sum(map(max, sizes))

    def windows(self, any_widths: bool) -> list[list[Label]]:
        """Labels whose widths may stand in one model, for each pair of neighbouring widths."""
        by_width = {
            bits: [k for k, scheme in self.schemes.items() if scheme.grid.bits == bits]
            for bits in _WIDTHS
        }
        if any_widths:
            return [list(self.schemes)]
        return [by_width[low] + by_width[high] for low, high in pairwise(_WIDTHS)]

    @cached_property
    def _inside(self) -> frozenset[str]:
        return frozenset(module for bundle in self.bundles for module in bundle)

    @cached_property
    def _planned(self) -> Mapping[str, ModulePlan]:
        return {module.module: module for module in self.plan.modules()}

    def _group(
        self,
        bundle: Sequence[str],
        labels: Collection[Label],
        losses: Mapping[tuple[str, Label], float],
    ) -> Group:
        options = [
            Option(
                label,
                self.schemes[label].grid.bits,
                sum(self.bytes_of(module, label) for module in bundle),
                sum(losses[module, label] for module in bundle),
            )
            for label in labels
            if all((module, label) in losses and self._fits(module, label) for module in bundle)
        ]
        return Group(bundle[0], tuple(options))

    def _outside(self, module: str, losses: Mapping[tuple[str, Label], float]) -> Group:
        options = [
            Option(label, None, self.bytes_of(module, label), losses[module, label])
            for label in self.outside_labels()
            if (module, label) in losses
        ]
        if module in self.optional:
            options.append(Option(KEPT, None, self.bytes_of(module, KEPT), 0.0))
        return Group(module, tuple(options))

    def _fits(self, module: str, label: Label) -> bool:
        """Whether columns divide into the groups of a label, if they do into the recipe's own."""
        columns = self.candidates.modules[label][module].shape[1]
        own = self.own_group
        return (own is not None and columns % own != 0) or not self.schemes[label].ragged(columns)


class _Nothing(dict[tuple[str, Label], float]):
    """No losses: everything is 0."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: tuple[str, Label]) -> float:
        return 0.0


def space_of(source: Source, plan: Plan, option: str, *, outside: bool) -> Space:
    """What a recipe's ``plan`` leaves to be chosen.

    ``option``: the goal's, for errors. ``outside``: head and embedding may be quantized even if the
    recipe does not include them, unless it excludes them. Matrices that an override of the recipe
    names keep what it says.

    Raises :class:`OptionError` for a recipe whose grid has one width.
    """
    recipe = plan.recipe
    if not has_widths(recipe):
        raise OptionError(
            option,
            f"needs integers, which come in several widths; recipe {recipe.name!r} has "
            f"{recipe.scheme.weights.grid.name}",
        )
    plain, _ = alone(recipe)
    found = candidates(source, plain, variants(plain, _labels(recipe)))
    block_of = plan.architecture.block_of
    free = {
        module.module: module
        for module in plan.modules()
        if not any(matches(override.match, module.module) for override in recipe.overrides)
    }
    inside = {
        name
        for name, module in free.items()
        if module.scheme is not None and block_of(f"{name}.weight") is not None
    }
    beside = [name for name in outside_of(plan.architecture) if name in free]
    optional = {
        name
        for name in beside
        if outside
        and free[name].scheme is None
        and not any(matches(pattern, name) for pattern in recipe.exclude)
    }
    return Space(
        plan,
        found,
        tuple(_bundles(source, plan, inside)),
        tuple(name for name in beside if name in optional or free[name].scheme is not None),
        frozenset(optional),
        recipe.scheme.weights.group_size,
    )


def _labels(recipe: Recipe) -> list[Label]:
    """All widths, in groups of half, once and twice the recipe's own size."""
    own = recipe.scheme.weights.group_size
    if own is None:
        return [f"w{bits}" for bits in _WIDTHS]
    sizes = [size for size in (own // 2, own, 2 * own) if size == own or size >= _SMALLEST_GROUP]
    return [f"w{bits}g{size}" for bits in _WIDTHS for size in sizes]


def _bundles(source: Source, plan: Plan, free: Collection[str]) -> list[tuple[str, ...]]:
    """Linears that engines fuse: those that read the same, and all experts of a block."""
    architecture = plan.architecture
    shapes: dict[str, tuple[int, ...]] = {}
    for info in source.tensors.values():
        shapes |= unfused_shapes(architecture, info.name, info.shape)
    found = []
    for block in range(architecture.blocks):
        experts: list[str] = []
        for group in input_groups(architecture, shapes, block):
            names = [n.removesuffix(".weight") for n in group]
            members = tuple(name for name in names if name in free)
            if members and "*" in canonical(architecture.split(f"{members[0]}.weight")[1]):
                experts += members
            elif members:
                found.append(members)
        if experts:
            found.append(tuple(experts))
    return found
