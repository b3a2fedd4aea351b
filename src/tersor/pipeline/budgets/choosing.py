"""Choices for one request: predicted by sensitivities, solved, and turned into plans."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tersor.allocation import Allocation, Group, least_bytes, least_loss
from tersor.pipeline.budgets.found import Outcome
from tersor.pipeline.budgets.goal import Goal
from tersor.pipeline.budgets.limit import bits_of, planned_bytes
from tersor.pipeline.budgets.mixture import as_recipe
from tersor.pipeline.budgets.space import Space
from tersor.pipeline.planning import Plan, make_plan
from tersor.pipeline.request import Request
from tersor.pipeline.sensitivity.candidates import Label
from tersor.pipeline.sensitivity.labels import variants
from tersor.pipeline.sensitivity.measure import sensitivities
from tersor.pipeline.sensitivity.protocol import Protocol

Watch = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True, eq=False)
class Choosing:
    """What there is to choose for ``request`` and what it costs.

    ``losses``: predicted divergence by module and label, for the ``labels`` inside blocks and those
    of head and embedding. ``seconds``: that finding them took.
    """

    request: Request
    goal: Goal
    space: Space
    labels: tuple[Label, ...]
    losses: Mapping[tuple[str, Label], float]
    any_widths: bool
    seconds: float

    @property
    def groups(self) -> list[Group]:
        """For the solver."""
        return self.space.groups(self.losses, self.labels)

    def within(self, most: int, least: int = 0) -> Allocation | None:
        """The mixture with the least predicted loss."""
        return least_loss(self.groups, most, least=least, any_widths=self.any_widths)

    def beyond(self, loss: float) -> Allocation | None:
        """The smallest mixture with at most so much predicted loss."""
        return least_bytes(self.groups, loss, any_widths=self.any_widths)

    def uniform_within(self, most: int) -> Allocation | None:
        """The uniform scheme with the least predicted loss that fits."""
        found = [least_loss(groups, most) for groups in self._uniform()]
        fitting = [one for one in found if one is not None]
        return min(fitting, key=lambda one: one.loss, default=None)

    def uniform_beyond(self, loss: float) -> Allocation | None:
        """The smallest uniform scheme with at most so much predicted loss."""
        found = [least_bytes(groups, loss) for groups in self._uniform()]
        fitting = [one for one in found if one is not None]
        return min(fitting, key=lambda one: one.bytes, default=None)

    def choices(self, allocation: Allocation) -> dict[str, Label]:
        """The label of every module."""
        bundles = (*self.space.bundles, *((module,) for module in self.space.outside))
        return {
            module: allocation.chosen[bundle[0]].label for bundle in bundles for module in bundle
        }

    def plan(self, allocation: Allocation) -> Plan:
        """Of an allocation, in the format that was asked for."""
        recipe = as_recipe(
            self.request.plan.recipe,
            self.space.plan.architecture,
            self.space.schemes,
            self.choices(allocation),
            {module.module: module.weights for module in self.space.plan.modules()},
            self.goal.said(self.goal.value),
        )
        return make_plan(self.request.source, recipe, self.request.format)

    def outcome(self, allocation: Allocation, measured: float | None = None) -> Outcome:
        """What an allocation comes to."""
        choices = self.choices(allocation)
        rest = self.space.plan.bytes - planned_bytes(self.space)
        bits = bits_of(self.space, choices)
        return Outcome(choices, rest + allocation.bytes, bits, allocation.loss, measured)

    def _uniform(self) -> list[list[Group]]:
        """Groups with one label inside the blocks, for each that all of them can have."""
        found = [self.space.groups(self.losses, [label]) for label in self.labels]
        return [groups for groups in found if all(group.options for group in groups)]


def choosing(
    request: Request,
    goal: Goal,
    space: Space,
    labels: Sequence[Label],
    *,
    any_widths: bool,
    watch: Watch,
) -> Choosing:
    """Estimate what every choice among ``labels`` costs.

    Raises as :func:`~tersor.pipeline.sensitivity.measure.sensitivities` does.
    """
    beside = space.outside_labels() if space.outside else []
    recipe = request.plan.recipe
    found = sensitivities(
        request.source,
        recipe,
        variants(recipe, list(dict.fromkeys([*labels, *beside]))),
        wanted=lambda module, label: space.wants(module, label, labels),
        protocol=Protocol(),
        watch=watch,
    )
    losses = {(row.part, row.scheme): row.kl for row in found.rows}
    return Choosing(request, goal, space, tuple(labels), losses, any_widths, found.seconds)
