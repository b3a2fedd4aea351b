"""Pictures of values between the levels of their grid."""

from typing import TYPE_CHECKING

import torch

from tersor.explaining.formulas import number
from tersor.explaining.values import Explanation
from tersor.explaining.weight import WeightPath
from tersor.report.html import FAINT, INK, SERIES, Picture, hint, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = 1 << 8


def values_picture(found: Explanation) -> Picture:
    """Each value above, what it comes back as below, on the levels of the grid."""
    zero = found.zero_point or 0
    levels = [found.scale * (code - zero) for code in range(found.lowest, found.highest + 1)]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.vlines(levels, -0.12, 0.12, color=FAINT, linewidth=0.5)
        for step in found.steps:
            way = axes.plot([step.value, step.restored], [1, 0.15], color=SERIES[0], linewidth=1)
            hint(
                way[0],
                f"{number(step.value)} → code {step.code} → {number(step.restored)}, error "
                f"{number(step.error, 4)}",
            )
        axes.plot([s.value for s in found.steps], [1] * len(found.steps), "o", color=SERIES[0])
        axes.plot(
            [s.restored for s in found.steps], [0.15] * len(found.steps), "o", color=SERIES[1]
        )
        axes.set_yticks([0, 1], ["levels", "values"])
        axes.set_ylim(-0.3, 1.2)
        axes.grid(visible=False)

    return picture(
        draw,
        alt=f"{len(found.steps)} values, each joined to the level of its code",
        caption="Above the values, below the levels that codes stand for. A slanted line is an "
        "error.",
        height=2.0,
    )


def group_picture(path: WeightPath) -> tuple[Picture, ...]:
    """The weights that share a scale with one, on the levels of their grid; none if unknown."""
    members, step = path.group.members, path.step
    if members is None or step is None:
        return ()
    levels = grid_levels(path)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        values = members.tolist()
        axes.vlines(levels, -0.2, 0.2, color=FAINT, linewidth=0.7)
        axes.plot(values, [0.6] * len(values), "|", color=SERIES[0], markersize=14)
        axes.plot([step.value, step.restored], [0.6, 0.2], color=SERIES[1], linewidth=1.2)
        axes.plot([step.value], [0.6], "o", color=SERIES[1])
        axes.plot([step.restored], [0.2], "o", color=SERIES[1])
        axes.annotate(number(step.value, 4), (step.value, 0.7), ha="center", color=INK)
        axes.set_yticks([0, 0.6], ["levels", "weights"])
        axes.set_ylim(-0.3, 0.95)
        axes.grid(visible=False)

    return (
        picture(
            draw,
            alt=f"{len(members)} weights of the group above {len(levels)} levels; the weight "
            f"{number(step.value, 4)} is joined to {number(step.restored, 4)}",
            caption="The weights that share a scale, and the levels that their codes can stand "
            "for. The one that is followed is joined to its level.",
            height=1.8,
        ),
    )


def grid_levels(path: WeightPath) -> list[float]:
    """All values that codes of the group can stand for; those inside of it if they are many."""
    grid, scale = path.grid, torch.tensor(path.scale)
    integers = grid.integers
    if integers is not None:
        codes = torch.arange(integers.lowest, integers.highest + 1)
        zero = None if path.zero_point is None else torch.tensor(path.zero_point)
        return sorted(grid.decode(codes.to(grid.code_dtype), scale, zero).tolist())
    finite = sorted({level for level in grid.levels if abs(level) < float("inf")})
    return [path.scale * level for level in finite]
