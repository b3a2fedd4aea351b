"""The least loss within a size, or the least size within a loss, as integer programs.

A binary variable for every option, one of a group is 1 (multiple-choice knapsack), solved by
HiGHS (``scipy.optimize.milp``). Losses are taken to add up. Widths that may stand in one model are
those of one window: neighbours on the ladder of all widths, or any. Each window is a program of its
own, and the best of them is the answer; a window's own optimum bounds what it can give, so the
bound of the whole is the least of theirs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

from tersor.allocation.options import Allocation, Group, Option, totals

_SECONDS = 20.0
_GAP = 1e-6


def least_loss(
    groups: Sequence[Group], most: int, *, least: int = 0, any_widths: bool = False
) -> Allocation | None:
    """The choice with the least loss whose bytes are within ``[least, most]``.

    ``any_widths``: also those that are no neighbours. ``None`` if no choice has such a size.
    """
    parts = _parts(groups, any_widths)
    return _best([_Program(p, _losses(p), (_bytes(p), least, most)) for p in parts], groups)


def least_bytes(
    groups: Sequence[Group], most: float, *, any_widths: bool = False
) -> Allocation | None:
    """The choice of the least bytes whose loss is ``most`` or less; ``None`` if none has that."""
    parts = _parts(groups, any_widths)
    return _best([_Program(p, _bytes(p), (_losses(p), 0.0, most)) for p in parts], groups)


def _best(programs: Sequence["_Program"], groups: Sequence[Group]) -> Allocation | None:
    found = [solved for program in programs if (solved := program.solved()) is not None]
    if not found:
        return None
    best = min(found, key=lambda solved: solved.value)
    bound = min(solved.bound for solved in found)
    gap = max(0.0, (best.value - bound) / abs(best.value)) if best.value else 0.0
    return totals(groups, best.chosen, gap)


def _parts(groups: Sequence[Group], any_widths: bool) -> Iterator[Sequence[Group]]:
    """The groups with the options of one window, for each window in which all have some."""
    ladder = sorted({o.width for g in groups for o in g.options if o.width is not None})
    pairs = [set(pair) for pair in pairwise(ladder)]
    windows = [set(ladder)] if any_widths or not pairs else pairs
    for window in windows:
        part = [
            Group(g.name, tuple(o for o in g.options if o.width is None or o.width in window))
            for g in groups
        ]
        if all(group.options for group in part):
            yield part


def _bytes(groups: Sequence[Group]) -> NDArray[np.float64]:
    return np.array([float(option.bytes) for group in groups for option in group.options])


def _losses(groups: Sequence[Group]) -> NDArray[np.float64]:
    return np.array([option.loss for group in groups for option in group.options])


@dataclass(frozen=True)
class _Solved:
    """``chosen`` by group, the ``value`` of it, and the ``bound`` that nothing is below."""

    chosen: tuple[Option, ...]
    value: float
    bound: float


@dataclass(frozen=True, eq=False)
class _Program:
    """``cost`` of every option; ``limited``: what is, and the least and most of its sum."""

    groups: Sequence[Group]
    cost: NDArray[np.float64]
    limited: tuple[NDArray[np.float64], float, float]

    def solved(self) -> _Solved | None:
        from scipy.optimize import Bounds, LinearConstraint, milp

        # Numbers near 1: the solver's tolerances are absolute.
        scale = float(np.abs(self.cost).max()) or 1.0
        limited, least, most = self.limited
        unit = float(np.abs(limited).max()) or 1.0
        result = milp(
            self.cost / scale,
            integrality=np.ones(len(self.cost)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(self._members(), 1, 1),
                LinearConstraint(limited[None] / unit, least / unit, most / unit),
            ],
            options={"time_limit": _SECONDS, "mip_rel_gap": _GAP},
        )
        if result.x is None:
            return None
        chosen = self._chosen(result.x)
        if chosen is None:
            return None
        picked = self._picked(chosen)
        value = float(self.cost[picked].sum())
        bound = -inf if result.mip_dual_bound is None else float(result.mip_dual_bound) * scale
        return _Solved(chosen, value, min(bound, value))

    def _members(self) -> NDArray[np.float64]:
        """A row for each group: which options are its own."""
        counts = [len(group.options) for group in self.groups]
        rows = np.repeat(np.arange(len(counts)), counts)
        own: NDArray[np.float64] = (rows[None] == np.arange(len(counts))[:, None]).astype(float)
        return own

    def _chosen(self, found: NDArray[np.float64]) -> tuple[Option, ...] | None:
        """The option of each group; ``None`` if rounding the solver's numbers breaks a limit."""
        chosen, start = [], 0
        for group in self.groups:
            stop = start + len(group.options)
            chosen.append(group.options[int(np.argmax(found[start:stop]))])
            start = stop
        limited, least, most = self.limited
        total = float(limited[self._picked(tuple(chosen))].sum())
        slack = 1e-9 * max(abs(most), abs(total))
        return tuple(chosen) if least - slack <= total <= most + slack else None

    def _picked(self, chosen: Sequence[Option]) -> list[int]:
        picked, start = [], 0
        for group, option in zip(self.groups, chosen, strict=True):
            picked.append(start + group.options.index(option))
            start += len(group.options)
        return picked
