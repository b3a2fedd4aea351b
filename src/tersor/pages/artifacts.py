"""Pages of ``inspect`` for one artifact and for two beside each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tersor.inspection.matrix import CodesView
from tersor.pages.models import rounded
from tersor.pipeline.inspecting.found import ArtifactInspection, PairInspection
from tersor.report.html import (
    FAINT,
    SERIES,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    hint,
    picture,
)
from tersor.version import own_version

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def artifact_page(found: ArtifactInspection) -> Page:
    """What codes use of their grids, and what was lost."""
    recipe = "" if found.recipe is None else f", recipe `{found.recipe}`"
    sections = [
        Section(
            "How often codes occur",
            "Codes in the order of the values that they stand for. A grid whose outer codes are "
            "rare has long tails to hold.",
            (_codes_picture(found.matrices),),
        ),
        _roles(found),
        _every(found.matrices),
    ]
    if found.notes:
        sections.append(Section("Notes", "", tuple(Paragraph(note) for note in found.notes)))
    return Page(
        f"The codes of {found.model.name}",
        f"{len(found.matrices)} quantized matrices, format `{found.format}`{recipe}",
        found.findings,
        tuple(sections),
        f"Made by tersor {own_version()} from {found.model}.",
    )


def pair_page(found: PairInspection) -> Page:
    """Two artifacts side by side."""
    one, two = found.names
    rows = tuple(
        (
            pair.module,
            rounded(pair.first.sqnr_db),
            rounded(pair.second.sqnr_db),
            rounded(pair.gained),
            rounded(pair.first.codes.entropy),
            rounded(pair.second.codes.entropy),
        )
        for pair in found.differences
    )
    columns = ("matrix", f"dB {one}", f"dB {two}", "gained", f"entropy {one}", f"entropy {two}")
    gained = [pair for pair in found.differences if pair.gained is not None]
    drawn = (_pair_picture(found),) if gained else ()
    notes = dict.fromkeys((*found.first.notes, *found.second.notes))
    return Page(
        f"{one} and {two}",
        "two artifacts side by side",
        found.findings,
        (
            Section(
                "Matrix by matrix",
                "Signal to noise against the original, and bits of information in a code.",
                (*drawn, Table(columns, rows, "The largest differences first.")),
            ),
            *(Section("Notes", "", (Paragraph(note),)) for note in notes),
        ),
        f"Made by tersor {own_version()} from {found.first.model} and {found.second.model}.",
    )


def _roles(found: ArtifactInspection) -> Section:
    rows = tuple(
        (
            role.role,
            role.scheme,
            role.matrices,
            rounded(100 * role.share_used),
            rounded(role.entropy),
            rounded(role.sqnr_db),
        )
        for role in found.roles
    )
    columns = ("role", "scheme", "matrices", "codes used %", "bits of information", "dB")
    return Section("By role", "", (Table(columns, rows, "Medians over the blocks."),))


def _every(views: Sequence[CodesView]) -> Section:
    rows = tuple(
        (
            view.module,
            rounded(100 * view.codes.share_used),
            rounded(view.codes.entropy),
            rounded(100 * view.codes.at_ends),
            rounded(view.codes.median_scale),
            rounded(view.codes.highest_scale),
            rounded(view.sqnr_db),
        )
        for view in views
    )
    columns = (
        "matrix",
        "codes used %",
        "entropy",
        "at the ends %",
        "median scale",
        "largest scale",
        "dB",
    )
    return Section(
        "Every matrix",
        f"All {len(rows)}; the numbers behind them are in --json.",
        (Table(columns, rows, "Entropy in bits per code."),),
        folded=True,
    )


def _codes_picture(views: Sequence[CodesView]) -> Picture:
    """Of the most frequent number of codes: how often each occurs in all matrices together."""
    sizes = [len(view.codes.counts) for view in views]
    size = max(set(sizes), key=lambda one: (sizes.count(one), one))
    alike = [view for view in views if len(view.codes.counts) == size]
    total = sum(view.weights for view in alike)
    shares = [sum(view.codes.counts[at] for view in alike) / total for at in range(size)]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.bar(
            range(size), shares, width=0.9 if size <= 32 else 1.0, color=SERIES[0], linewidth=0
        )
        axes.axhline(1 / size, color=FAINT, linewidth=0.8)
        axes.set_xlabel("code, from the lowest value to the highest")
        axes.set_ylabel("share")

    return picture(
        draw,
        alt=f"Bars: how often each of {size} codes occurs",
        caption=f"{len(alike)} of {len(views)} matrices, those with {size} codes. The line: codes "
        "that were all as frequent, which would hold most.",
        height=2.4,
    )


def _pair_picture(found: PairInspection) -> Picture:
    """Signal to noise in the one against the other."""
    one, two = found.names
    pairs: list[tuple[float, float, str]] = [
        (pair.first.sqnr_db, pair.second.sqnr_db, pair.module)
        for pair in found.differences
        if pair.first.sqnr_db is not None and pair.second.sqnr_db is not None
    ]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for first, second, module in pairs[:_POINTS]:
            point = axes.plot([first], [second], "o", color=SERIES[0], markersize=4)
            hint(point[0], module)
        ends = [end for first, second, _ in pairs for end in (first, second)]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=FAINT, linewidth=0.8)
        axes.set_xlabel(f"dB, {one}")
        axes.set_ylabel(f"dB, {two}")

    more = "" if len(pairs) <= _POINTS else f" The {_POINTS} with the largest differences."
    return picture(
        draw,
        alt=f"Points: signal to noise of every matrix in {one} against {two}",
        caption=f"Above the line {two} is nearer to the original.{more}",
        height=3.6,
    )


_POINTS = 600
