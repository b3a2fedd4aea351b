"""Pages of ``explain``: a few values, or one weight of a model."""

from collections.abc import Iterable
from textwrap import wrap
from typing import TYPE_CHECKING

from tersor.explaining.formulas import (
    Line,
    findings,
    grid_lines,
    number,
    step_lines,
    third_part,
)
from tersor.explaining.values import Explanation
from tersor.explaining.weight_lines import (
    code_lines,
    effect_lines,
    matrix_line,
    packed_lines,
    scale_lines,
    stored_lines,
    weight_findings,
)
from tersor.pages.levels import group_picture, values_picture
from tersor.pipeline.inspecting.weight import WeightExplanation
from tersor.report.html import Formula, Page, Paragraph, Part, Section, Table
from tersor.version import own_version

if TYPE_CHECKING:
    from tersor.explaining.steps import Step

_DRAWN = 60
# Characters of a line of formulas that a page shows without being scrolled.
_WIDEST = 84


def values_page(found: Explanation) -> Page:
    """A few values on their way."""
    kind = "symmetric" if found.symmetric else "asymmetric"
    sections = [
        Section(
            "The grid",
            "All values share one scale: each becomes the whole number nearest to `w / s`.",
            (_lines(grid_lines(found)), *_values_drawn(found)),
        ),
        Section("Every value", "", (_table(found),)),
    ]
    for step in found.steps if len(found.steps) <= _DRAWN else (found.worst,):
        lines = step_lines(step, found.scale, found.zero_point, (found.lowest, found.highest))
        lead = f"code {step.code}, back as {number(step.restored)}"
        sections.append(Section(f"w = {number(step.value)}", lead, (_lines(lines),), folded=True))
    return Page(
        f"{len(found.steps)} values in {found.bits} bits",
        f"signed codes, {kind}",
        tuple(findings(found)),
        tuple(sections),
        f"Made by tersor {own_version()}.",
    )


def weight_page(found: WeightExplanation) -> Page:
    """One weight of a model, from its file through its code to a logit."""
    path = found.path
    recipe = "" if found.recipe is None else f", recipe `{found.recipe}`"
    sections = [
        Section(
            "In the original, and beside it",
            "",
            (_lines(stored_lines(path)), *group_picture(path)),
        ),
        Section(
            "Scale",
            "Chosen for the group, and stored beside the codes.",
            (_lines(scale_lines(path)),),
        ),
        Section("To its code and back", "", (_lines(code_lines(path)),)),
    ]
    if found.packed is not None:
        sections.append(Section("Its bits", "", (_lines(packed_lines(found.packed, path.row)),)))
    if said := matrix_line(path):
        sections.append(Section("The whole matrix", "", (Paragraph(said),)))
    if found.effect is not None:
        lead = "The model was run on a few words, with less or more of the matrix rounded."
        effect = _lines(effect_lines(path, found.effect))
        sections.append(Section("What it does", lead, (effect,)))
    if found.notes:
        notes = tuple(Paragraph(note) for note in found.notes)
        sections.append(Section("Notes", "", notes))
    return Page(
        f"One weight of {found.module}",
        f"row {path.row}, column {path.column}: {found.chosen}{recipe}, {path.scheme}",
        tuple(weight_findings(path, found.effect)),
        tuple(sections),
        f"Made by tersor {own_version()} from {found.model}.",
    )


def _lines(lines: Iterable[Line]) -> Formula:
    shown = list(lines)
    width = max(len(label) for label, _ in shown) + 2
    return Formula(
        tuple(
            line
            for label, text in shown
            for line in wrap(
                f"{label:<{width}}{text}",
                _WIDEST,
                subsequent_indent=" " * width,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    )


def _values_drawn(found: Explanation) -> tuple[Part, ...]:
    return (values_picture(found),) if len(found.steps) <= _DRAWN else ()


def _table(found: Explanation) -> Table:
    steps: tuple[Step, ...] = found.steps
    columns = ("w", "w / s", "code", "w'", "error", "rounding", "clipping")
    rows = tuple(
        (
            number(step.value),
            step.scaled,
            step.code,
            step.restored,
            step.error,
            step.rounding,
            step.clipping,
            step.zero_point,
        )
        for step in steps
    )
    worst = steps.index(found.worst)
    third = third_part(not found.symmetric)
    return Table((*columns, third), rows, "The one that loses most is marked.", (worst,))
