"""A budget in bytes of what there is a choice for."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

from tersor.errors import OptionError
from tersor.pipeline.budgets.goal import NEAR, Bits, Goal, Size
from tersor.pipeline.budgets.space import KEPT, Space
from tersor.pipeline.sensitivity.candidates import Label

_SHAPES = 0.00049
"""Bits per weight that do not show in three decimals: what the shapes beside the codes take."""

_PARTS, _ENTRY, _DIGITS = 4, 120, 4
"""Tensors of a quantized matrix, bytes of a header's entry besides its name, digits in it."""


@dataclass(frozen=True)
class Limit:
    """``[least, most]`` bytes of choices; ``fixed`` are those of everything else that counts.

    ``per_unit``: bytes that are 1 of the goal's unit.
    """

    least: int
    most: int
    fixed: int
    per_unit: float

    def value(self, chosen: float) -> float:
        """What choices of so many bytes come to in the goal's unit."""
        return (chosen + self.fixed) / self.per_unit

    def lowered(self, by: int) -> "Limit":
        """The same with ``by`` bytes less."""
        return Limit(self.least - by, self.most - by, self.fixed, self.per_unit)


def limit_of(space: Space, goal: Bits | Size, overhead: int) -> Limit:
    """The goal in bytes of choices.

    ``overhead``: what files take besides the tensors' values, as the recipe has it.
    """
    if isinstance(goal, Size):
        per_unit = 1.0
        fixed = space.plan.bytes - planned_bytes(space) + overhead + _varying(space)
    else:
        quantized = {module.module: module for module in space.plan.quantized()}
        per_unit = sum(module.weights for module in quantized.values()) / 8
        rest = quantized.keys() - set(space.modules)
        fixed = sum(quantized[name].stored_bytes for name in rest)
    most = goal.value * per_unit
    if isinstance(goal, Bits):
        most = max(most, (floor(1000 * goal.value) / 1000 + _SHAPES) * per_unit)
    return Limit(ceil((1 - NEAR) * most) - fixed, floor(most) - fixed, fixed, per_unit)


def _varying(space: Space) -> int:
    """How much larger headers may be for other choices: longer numbers, and parts of what is kept.

    A few bytes too many, so that nothing depends on what is chosen.
    """
    parts = sum(_PARTS * (len(module) + _ENTRY) for module in space.optional)
    return parts + _DIGITS * sum(1 for _ in space.plan.outputs())


def planned_bytes(space: Space) -> int:
    """Bytes of all that there is a choice for, as the recipe has it."""
    return sum(space.bytes_of(module, KEPT) for module in space.modules)


def reachable_labels(space: Space, limit: Limit, goal: Goal, any_widths: bool) -> list[Label]:
    """Labels of all windows that hold a choice within the limit.

    Raises :class:`OptionError` naming the nearest budget that can be met.
    """
    bounds = {tuple(window): space.bounds(window) for window in space.windows(any_widths)}
    found = [
        label
        for window, (low, high) in bounds.items()
        if low <= limit.most and high >= limit.least
        for label in window
    ]
    if found:
        return list(dict.fromkeys(found))
    low = min(low for low, _ in bounds.values())
    high = max(high for _, high in bounds.values())
    nearest = low if limit.most < low else high
    raise cannot(goal, limit.value(nearest))


def cannot(goal: Goal, nearest: float) -> OptionError:
    """The error for a goal that nothing meets; ``nearest`` in its unit."""
    return OptionError(
        goal.option,
        f"cannot be met: {goal.said(goal.value)} is asked for, and the nearest that can be had is "
        f"{goal.said(nearest)}",
    )


def bits_of(space: Space, choices: Mapping[str, Label]) -> float:
    """Bits per quantized weight of choices, with what the recipe quantizes besides."""
    counted = {m.module: (m.stored_bytes, m.weights) for m in space.plan.quantized()}
    planned = {m.module: m.weights for m in space.plan.modules()}
    for module, label in choices.items():
        counted.pop(module, None)
        if label != KEPT:
            counted[module] = space.bytes_of(module, label), planned[module]
    size = sum(stored for stored, _ in counted.values())
    return 8 * size / sum(weights for _, weights in counted.values())
