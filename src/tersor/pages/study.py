"""A comparison of recipes as a page."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, log
from typing import TYPE_CHECKING, Any

from tersor.pipeline.studies.comparison import ComparedArtifact, CompareResult
from tersor.pipeline.studies.rows import CompareRow, by_text
from tersor.recipes.naming import ORIGINAL
from tersor.report import figure, size
from tersor.report.html import (
    FAINT,
    SERIES,
    Page,
    Paragraph,
    Part,
    Picture,
    Section,
    Table,
    hint,
    picture,
)
from tersor.version import own_version

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ALIKE = 1.02
"""Sizes that differ by less are called the same."""
_MARKERS = "os^Dv*"
_HEIGHT, _LINE, _BESIDE = 140.0, 10.0, 0.25
"""Points between the least and the largest loss of a picture, and of a line; a name's share of the
width."""
_WIDTH = 5.2
"""Inches; a phone shows so much without scrolling."""


def study_page(found: CompareResult) -> Page:
    """What every recipe cost and lost, and where the losses come from."""
    texts = by_text(found.rows)
    sections = [_loss(name, rows) for name, rows in texts.items()]
    travelled = [one for one in found.artifacts if one.travel]
    if travelled:
        sections.append(_travel(travelled))
    sections.append(_conditions(found))
    names = ", ".join(one.recipe for one in found.artifacts)
    return Page(
        title=f"{found.model.name}, quantized",
        subtitle=f"{names}, measured on the same text",
        findings=tuple(_findings(next(iter(texts.values())), travelled)),
        sections=tuple(sections),
        made=f"tersor {own_version()}, `tersor compare`; all figures: compare.json",
    )


def _findings(rows: Sequence[CompareRow], travelled: Sequence[ComparedArtifact]) -> Iterator[str]:
    original, *made = rows
    ranked = sorted(made, key=_kl)
    least, most = ranked[0], ranked[-1]
    yield (
        f"`{least.recipe}` loses least: KL divergence {figure(least.kl_mean, 3)} nats from the "
        f"original, the same likeliest token at {_share(least.top1_agreement)} of the positions, "
        f"in {size(least.bytes)} instead of {size(original.bytes)}, "
        f"{original.bytes / max(least.bytes, 1):.1f} times smaller."
    )
    if most is not least:
        yield (
            f"`{most.recipe}` loses most: KL {figure(most.kl_mean, 3)}, perplexity "
            f"{_large(most.perplexity)} where the original has {_large(original.perplexity)}."
        )
    alike = [
        f"in {size(first.bytes)} `{first.recipe}` loses "
        f"{figure(_kl(second) / max(_kl(first), 1e-12), 2)} times less than `{second.recipe}` "
        f"(KL {figure(first.kl_mean, 3)} and {figure(second.kl_mean, 3)})"
        for first, second in _same_size(made)
    ]
    if alike:
        yield f"At the same size the recipe decides: {'; '.join(alike)}."
    worse = [row.recipe for row in made if not row.best]
    if worse:
        yield (
            f"{_listed(worse)} {'is' if len(worse) == 1 else 'are'} beaten: something that is no "
            "larger loses less."
        )
    yield from _speed_finding(original, made)
    if travelled:
        yield _travel_finding(travelled)


def _speed_finding(original: CompareRow, made: Sequence[CompareRow]) -> Iterator[str]:
    timed = [row for row in made if row.decode]
    if original.decode and timed:
        best = max(timed, key=lambda row: row.decode or 0.0)
        yield (
            f"`{best.recipe}` makes most tokens per second: {best.decode:.0f}, "
            f"{(best.decode or 0) / original.decode:.1f} times as many as the original."
        )


def _travel_finding(travelled: Sequence[ComparedArtifact]) -> str:
    paths = [one.travel or (0.0,) for one in travelled]
    steps = [later > sooner for path in paths for sooner, later in pairwise(path)]
    grown = sum(path[-1] > path[0] for path in paths)
    worst = max(travelled, key=lambda one: (one.travel or (0.0,))[-1])
    first, *_, last = worst.travel or (0.0, 0.0)
    return (
        f"From block to block the error grows in {sum(steps)} of {len(steps)} steps and shrinks "
        f"beside the signal in {len(steps) - sum(steps)}; at the end it is larger than behind the "
        f"first block for {grown} of {len(paths)} recipes. Most of all for `{worst.recipe}`: from "
        f"{figure(first, 2)} of the signal's power to {figure(last, 2)}.{_deepest_fall(travelled)}"
    )


def _deepest_fall(travelled: Sequence[ComparedArtifact]) -> str:
    falls = [
        (sooner / later, block, one.recipe, sooner, later)
        for one in travelled
        for block, (sooner, later) in enumerate(pairwise(one.travel or ()), 2)
        if 0 < later < sooner
    ]
    if not falls:
        return ""
    _, block, recipe, sooner, later = max(falls)
    return (
        f" It falls most behind block {block}, for `{recipe}` from {figure(sooner, 2)} to "
        f"{figure(later, 2)}."
    )


def _same_size(made: Sequence[CompareRow]) -> Iterator[tuple[CompareRow, CompareRow]]:
    """For each size that several have: what loses least and what loses most."""
    seen: list[list[CompareRow]] = []
    for row in sorted(made, key=lambda row: row.bytes):
        if seen and row.bytes <= seen[-1][0].bytes * _ALIKE:
            seen[-1].append(row)
        else:
            seen.append([row])
    for group in seen:
        ranked = sorted(group, key=_kl)
        if len(ranked) > 1 and _kl(ranked[-1]) > _kl(ranked[0]):
            yield ranked[0], ranked[-1]


def _loss(name: str, rows: Sequence[CompareRow]) -> Section:
    columns, cells = _cells(rows)
    marked = tuple(index for index, row in enumerate(rows) if row.best)
    table = Table(
        columns,
        cells,
        f"On {name}. KL: divergence of the predictions from the original's, in nats; p99: what one "
        "position in a hundred exceeds; same top: positions with the same likeliest token. Marked: "
        "nothing that is no larger loses less.",
        marked,
    )
    return Section(
        f"Loss on {name}",
        "Left and down is better: smaller and nearer to the original.",
        (_sizes(rows), table),
    )


def _cells(rows: Sequence[CompareRow]) -> tuple[tuple[str, ...], tuple[tuple[object, ...], ...]]:
    every: dict[str, list[Any]] = {
        "recipe": [row.recipe for row in rows],
        "scheme": [row.scheme or "as it was" for row in rows],
        "bits": [row.bits_per_quantized_weight for row in rows],
        "MB": [row.bytes / 1e6 for row in rows],
        "KL": [row.kl_mean for row in rows],
        "KL p99": [row.kl_p99 for row in rows],
        "perplexity": [row.perplexity for row in rows],
        "same top": [row.top1_agreement for row in rows],
        "seconds": [None if row.recipe == ORIGINAL else row.seconds for row in rows],
        "prompt tokens/s": [row.prefill for row in rows],
        "new tokens/s": [row.decode for row in rows],
    }
    for task in rows[0].tasks:
        every[task] = [row.tasks.get(task) for row in rows]
    kept = {name: values for name, values in every.items() if any(v is not None for v in values)}
    return tuple(kept), tuple(zip(*kept.values(), strict=True))


def _sizes(rows: Sequence[CompareRow]) -> Picture:
    made = [row for row in rows if row.recipe != ORIGINAL and row.kl_mean]
    best = sorted((row for row in made if row.best), key=lambda row: row.bytes)

    def draw(figure_: "Figure") -> None:
        axes = figure_.subplots()
        axes.plot([r.bytes / 1e6 for r in best], [_kl(r) for r in best], color=FAINT, zorder=1)
        for row, lift in zip(made, _lifts(made), strict=True):
            point = axes.scatter(
                row.bytes / 1e6, _kl(row), color=SERIES[0] if row.best else SERIES[1], zorder=2
            )
            hint(point, f"{row.recipe}: {size(row.bytes)}, KL {figure(row.kl_mean, 3)}")
            axes.annotate(
                row.recipe,
                (row.bytes / 1e6, _kl(row)),
                xytext=(6, 3 + lift),
                textcoords="offset points",
            )
        axes.set_yscale("log")
        axes.margins(x=0.15, y=0.1)
        axes.set_xlabel("size in MB")
        axes.set_ylabel("KL divergence in nats")

    listed = "; ".join(f"{r.recipe} {size(r.bytes)}, KL {figure(r.kl_mean, 3)}" for r in made)
    return picture(
        draw,
        alt=f"Loss against size: {listed}.",
        caption="Loss against size. The line joins those that nothing as small beats.",
        width=_WIDTH,
        height=3.0,
    )


def _lifts(made: Sequence[CompareRow]) -> list[float]:
    """By how many points each name is raised, so that none lies on another."""
    sizes, losses = [row.bytes for row in made], [log(_kl(row)) for row in made]
    wide, high = max(sizes) - min(sizes) or 1, max(losses) - min(losses) or 1.0
    lifts, placed = [0.0] * len(made), list[tuple[float, float]]()
    for index in sorted(range(len(made)), key=lambda index: losses[index]):
        x, y = sizes[index] / wide, _HEIGHT * losses[index] / high
        taken = [at + _LINE for beside, at in placed if abs(beside - x) < _BESIDE]
        raised = max([y, *(at for at in taken if at > y)])
        placed.append((x, raised))
        lifts[index] = raised - y
    return lifts


def _travel(travelled: Sequence[ComparedArtifact]) -> Section:
    from matplotlib.ticker import MaxNLocator

    def draw(figure_: "Figure") -> None:
        axes = figure_.subplots()
        for index, one in enumerate(travelled):
            path = [value or None for value in one.travel or ()]
            (line,) = axes.plot(
                range(1, len(path) + 1),
                [inf if value is None else value for value in path],
                label=one.recipe,
                marker=_MARKERS[index // len(SERIES) % len(_MARKERS)],
                markersize=3,
            )
            hint(line, f"{one.recipe}: {figure(path[-1], 2)} at the end")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("block")
        axes.set_ylabel("share of the signal's power")
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))

    ends = "; ".join(f"{o.recipe} {figure((o.travel or (0.0,))[-1], 2)}" for o in travelled)
    parts: tuple[Part, ...] = (
        picture(
            draw,
            alt=f"Error behind every block; at the end: {ends}.",
            caption="Squared error of the hidden states behind each block, as a share of their "
            "square; the last point is behind the final norm.",
            width=_WIDTH,
            height=3.4,
        ),
    )
    return Section(
        "How the error travels through the blocks",
        "A block adds the error of its own weights and hands on what it was given. Where the line "
        "rises, errors add up; where it falls, the signal grew faster than the error.",
        parts,
    )


def _conditions(found: CompareResult) -> Section:
    lines = [f"{line[0].upper()}{line[1:]}." for line in found.lines()]
    if found.timed is not None:
        prompt, new = found.timed
        lines.append(f"Timed by tersor's engine: a prompt of {prompt} tokens, {new} new ones.")
    return Section(
        "How it was measured",
        "The models were run in float32, dequantized, by transformers.",
        tuple(Paragraph(line) for line in lines),
        folded=True,
    )


def _kl(row: CompareRow) -> float:
    return inf if row.kl_mean is None else row.kl_mean


def _large(perplexity: float) -> str:
    """Whole numbers in place of powers of ten, which sentences have no room for."""
    if 1e4 <= perplexity < inf:
        return f"{float(f'{perplexity:.3g}'):,.0f}"
    return figure(perplexity)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _listed(names: Sequence[str]) -> str:
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last
