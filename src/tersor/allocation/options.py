"""What there is to choose from, and what was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One scheme of a group: what it takes in ``bytes``, and the ``loss`` that is foreseen.

    ``width``: bits of a code; ``None`` for an option that is in nobody's way.
    """

    label: str
    width: int | None
    bytes: int
    loss: float


@dataclass(frozen=True)
class Group:
    """Matrices that share their choice, called ``name``."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Allocation:
    """A choice for every group, by name; totals over all of them.

    ``gap``: how far ``loss`` (or ``bytes``, if those were made least) may be from the best there
    is, as a share of it.
    """

    chosen: Mapping[str, Option]
    bytes: int
    loss: float
    gap: float


def totals(groups: Sequence[Group], chosen: Sequence[Option], gap: float) -> Allocation:
    """The allocation of one option for each group, in their order."""
    named = {group.name: option for group, option in zip(groups, chosen, strict=True)}
    size = sum(option.bytes for option in chosen)
    return Allocation(named, size, sum(option.loss for option in chosen), gap)
