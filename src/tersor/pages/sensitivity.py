"""Sensitivities as a page: which parts of a model lose most when they alone are quantized."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from tersor.pages.models import rounded
from tersor.pipeline.sensitivity.result import Sensitivity, SensitivityResult
from tersor.report import duration, figure
from tersor.report.html import FAINT, Page, Paragraph, Part, Picture, Section, Table, hint, picture
from tersor.version import own_version

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST = 12


def sensitivity_page(found: SensitivityResult) -> Page:
    """Findings in sentences, pictures by block and role, tables of roles and of every part."""
    sections = [_overview(found)]
    if any(row.block is not None and row.role for row in found.rows):
        sections.append(_by_block(found))
    if found.spearman:
        sections.append(_agreement(found))
    sections.append(_parts(found))
    sections.append(_how(found))
    return Page(
        title=f"What quantizing each {found.by} of {found.model.name} costs",
        subtitle=f"{', '.join(found.schemes)}, rounded as `{found.recipe}` does",
        findings=tuple(_findings(found)),
        sections=tuple(sections),
        made=f"by tersor {own_version()} in {duration(found.seconds)}, from {found.text}",
    )


def _findings(found: SensitivityResult) -> list[str]:
    said = [f"{one.line()}." for one in found.contrasts()]
    for scheme in found.schemes:
        first, *_ = rows = found.of(scheme)
        total = sum(row.kl for row in rows)
        few = rows[: max(1, len(rows) // 10)]
        share = sum(row.kl for row in few) / total if total else 0.0
        said.append(
            f"{scheme}: `{first.part}` loses most, {figure(first.kl, 3)} nats of KL divergence; "
            f"the most sensitive tenth ({len(few)} of {len(rows)}) makes up {share:.0%} of the sum."
        )
    if "" in found.spearman:
        said.append(
            "Estimates rank parts as the exact divergence does: Spearman's correlation is "
            f"{figure(found.spearman[''], 3)}."
        )
    return said


def _overview(found: SensitivityResult) -> Section:
    roles = found.by_role()
    parts: tuple[Part, ...] = ()
    if roles:
        columns = ("role", "linears", "M weights", *found.schemes)
        rows = tuple(
            (r["role"], r["linears"], r["weights"] / 1e6, *(r[k] for k in found.schemes))
            for r in roles
        )
        caption = "KL divergence in nats, summed over the linears of a role, each quantized alone"
        parts = (Table(columns, rows, caption),)
    lead = (
        "Each part was quantized alone, everything else left as it is. What that does to the "
        "model's predictions is their mean KL divergence from the original's, in nats."
    )
    return Section("By role", lead, parts)


def _by_block(found: SensitivityResult) -> Section:
    """One picture per scheme: the divergence over the blocks, a line for each role."""
    pictures = tuple(_blocks_picture(found, scheme) for scheme in found.schemes)
    lead = "Every point is one linear (of experts: the mean of a block's)."
    return Section("Through the blocks", lead, pictures)


def _blocks_picture(found: SensitivityResult, scheme: str) -> Picture:
    lines = _lines(found.of(scheme))
    top = max(found.of(scheme), key=lambda row: row.kl)

    def draw(canvas: "Figure") -> None:
        axes = canvas.add_subplot()
        for (role, points), marker in zip(lines.items(), _MARKERS * 9, strict=False):
            blocks = sorted(points)
            values = [points[block] for block in blocks]
            (line,) = axes.plot(blocks, values, marker=marker, markersize=3.5, label=role, lw=1)
            hint(line, role)
        axes.set_yscale("log")
        axes.set_xlabel("block")
        axes.set_ylabel("KL divergence, nats")
        axes.legend(ncols=4)

    return picture(
        draw,
        alt=f"KL divergence of every linear over the blocks at {scheme}, on a logarithmic axis, a "
        f"line for each of {', '.join(lines)}; the largest is {top.part} with {figure(top.kl, 3)}",
        caption=f"{scheme}: each linear quantized alone",
    )


def _lines(rows: Sequence[Sensitivity]) -> Mapping[str, dict[int, float]]:
    """Role → block → mean divergence of its linears there, of those that show on a log axis."""
    collected: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row.block is not None and row.role and row.kl > 0:
            collected.setdefault(row.role, {}).setdefault(row.block, []).append(row.kl)
    return {
        role: {block: sum(values) / len(values) for block, values in of.items()}
        for role, of in sorted(collected.items())
    }


def _agreement(found: SensitivityResult) -> Section:
    both = [row for row in found.rows if row.exact and row.estimate]

    def draw(canvas: "Figure") -> None:
        axes = canvas.add_subplot()
        for scheme, marker in zip(found.schemes, _MARKERS * 9, strict=False):
            of = [row for row in both if row.scheme == scheme]
            x, y = [row.exact or 0.0 for row in of], [row.estimate or 0.0 for row in of]
            axes.plot(x, y, marker, markersize=3.5, label=scheme)
        ends = [min(row.exact or 1 for row in both), max(row.exact or 0 for row in both)]
        axes.plot(ends, ends, "--", color=FAINT, lw=0.8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("exact, nats")
        axes.set_ylabel("estimate, nats")
        axes.legend()

    each = tuple((k or "all", v) for k, v in found.spearman.items() if isfinite(v))
    table = Table(("scheme", "Spearman"), each, "Rank correlation of estimates and exact figures")
    parts: tuple[Part, ...] = (table,)
    if both:
        alt = f"Estimates against exact divergences of {len(both)} parts; a dashed line where equal"
        parts = (picture(draw, alt=alt, caption="Estimate and exact divergence"), table)
    lead = f"Exact figures were taken of {len(both)} parts and schemes."
    return Section("Are the estimates right?", lead, parts)


def _parts(found: SensitivityResult) -> Section:
    """One row for each part, whatever the schemes: ten thousand of them stay small."""
    parts: dict[str, dict[str, Sensitivity]] = {}
    for scheme in found.schemes:
        for row in found.of(scheme):
            parts.setdefault(row.part, {})[scheme] = row
    exact = any(row.exact is not None for row in found.rows)
    first = found.schemes[0]
    kinds = [""] + [" exact"] * exact
    columns = (
        *(found.by, "role", "block", "M weights"),
        *(f"{scheme}{kind}" for scheme in found.schemes for kind in kinds),
        f"{first} per M weights",
    )
    cells = tuple(_cells(found, row, exact) for row in parts.values())
    caption = "Estimates of the KL divergence in nats, and exact figures where they were taken"
    table = Table(columns, cells, caption if exact else "Estimates of the KL divergence in nats")
    names = ", ".join(f"`{part}`" for part in list(parts)[:3])
    lead = f"The most sensitive at {first} first: {names}."
    return Section(f"Every {found.by}", lead, (table,), folded=len(parts) > _MOST)


def _cells(
    found: SensitivityResult, by_scheme: Mapping[str, Sensitivity], exact: bool
) -> tuple[Any, ...]:
    one = next(iter(by_scheme.values()))
    figures: list[float | None] = []
    for scheme in found.schemes:
        row = by_scheme.get(scheme)
        figures.append(None if row is None else rounded(row.estimate))
        if exact:
            figures.append(None if row is None else rounded(row.exact))
    millions = one.weights / 1e6
    return (
        *(one.part, one.role or None, one.block, rounded(millions)),
        *figures,
        rounded(one.kl / millions) if one.scheme == found.schemes[0] else None,
    )


def _how(found: SensitivityResult) -> Section:
    said = [
        f"Estimates are the second order of the divergence (score `{found.score}`): gradients of "
        "next tokens that are drawn from the model's own predictions, squared, and the change of "
        "each matrix. The head and the embedding are always measured.",
        f"Read: {found.text}; {found.positions} predictions.",
        *(f"{note[0].upper()}{note[1:]}." for note in found.notes),
    ]
    return Section("How this was found", "", tuple(Paragraph(text) for text in said))
