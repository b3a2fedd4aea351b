"""Page of ``inspect`` for a model: findings, what bits and groups lose, what stands out."""

from collections.abc import Iterator

from tersor.inspection.findings import relative
from tersor.inspection.losses import GRANULARITIES, WIDTHS
from tersor.inspection.matrix import MatrixView
from tersor.inspection.roles import median_sqnr
from tersor.pages import spreads
from tersor.pipeline.inspecting.found import ModelInspection
from tersor.report.html import Page, Paragraph, Section, Table
from tersor.version import own_version


def model_page(found: ModelInspection) -> Page:
    """Summaries first, matrices that stand out folded below them, then all in one table."""
    sections = [
        _bits(found),
        _blocks(found),
        _roles(found),
        *_inputs(found),
        *_stand_out(found),
        _every(found),
    ]
    if found.notes:
        sections.append(Section("Notes", "", tuple(Paragraph(note) for note in found.notes)))
    return Page(
        f"What is in {found.model.name}",
        f"{len(found.matrices)} linears in {found.blocks} blocks, "
        f"{found.weights / 1e6:.4g} million weights",
        found.findings,
        tuple(sections),
        f"Made by tersor {own_version()} from {found.model}.",
    )


def _bits(found: ModelInspection) -> Section:
    rows = []
    for bits in WIDTHS:
        for granularity in GRANULARITIES:
            sqnr = median_sqnr(found.matrices, bits, granularity)
            share = None if sqnr is None else relative(sqnr)
            rows.append(
                (
                    f"{bits} bits {granularity}",
                    rounded(sqnr),
                    rounded(share),
                    *_parts(found, bits, granularity),
                )
            )
    kind = "with zero points" if found.asymmetric else "symmetric"
    return Section(
        "What bits and groups lose",
        f"Every matrix rounded to nearest ({kind}, ranges from the smallest to the largest "
        "weight), at four widths and with a scale for more or fewer weights.",
        (
            spreads.losses_picture(found.matrices),
            Table(
                (
                    "rounded to",
                    "median dB",
                    "usual error / weight",
                    "rounding",
                    "clipping",
                    "ends of the grid",
                ),
                tuple(rows),
                "Signal to noise of the median matrix; parts of the squared error of all weights, "
                "in percent.",
            ),
        ),
    )


def _parts(
    found: ModelInspection, bits: int, granularity: str
) -> tuple[float | None, float | None, float | None]:
    """Percent of the squared error of all matrices that is rounding, clipping, the grid's ends."""
    parts = [
        (view.weights, part)
        for view in found.matrices
        if (part := view.loss(bits, granularity) or view.loss(bits, "channel")) is not None
    ]
    total = sum(weights * part.mse for weights, part in parts)
    if total <= 0:
        return None, None, None
    sums = (
        sum(weights * part.rounding for weights, part in parts),
        sum(weights * part.clipping for weights, part in parts),
        sum(weights * part.zero_point for weights, part in parts),
    )
    rounding, clipping, rest = (rounded(100 * one / total) for one in sums)
    return rounding, clipping, rest


def _blocks(found: ModelInspection) -> Section:
    return Section(
        "From the first block to the last",
        "4 bits in groups of 64: which matrices are hard, and where.",
        (spreads.blocks_picture(found.matrices),),
    )


def _roles(found: ModelInspection) -> Section:
    rows = tuple(
        (
            role.role,
            role.matrices,
            rounded(role.kurtosis),
            rounded(role.reach),
            rounded(role.column_ratio),
            rounded(role.input_ratio),
            *(rounded(dict(role.sqnr_db)[name]) for name in _SQNR.values()),
        )
        for role in found.roles
    )
    return Section(
        "By role",
        "Medians over the blocks. Kurtosis is 0 for a bell curve; columns and inputs: the largest "
        "against the median one.",
        (
            Table(
                ("role", "matrices", "kurtosis", "largest / σ", "column", "input", *_SQNR),
                rows,
                "Signal to noise in dB, by bits and what shares a scale.",
            ),
        ),
    )


_SQNR = {
    "8 channel": "8 bits channel",
    "4 channel": "4 bits channel",
    "4 g64": "4 bits g64",
    "3 g64": "3 bits g64",
    "2 g64": "2 bits g64",
}


def _inputs(found: ModelInspection) -> Iterator[Section]:
    if found.text is None:
        return
    yield Section(
        "What linears read",
        f"The largest activation of every input channel, on {found.text}. A channel far over the "
        "others is what SmoothQuant moves into weights, and whose weights AWQ protects.",
        (spreads.inputs_picture(found.matrices),),
    )


def _stand_out(found: ModelInspection) -> Iterator[Section]:
    yield Section(
        "What stands out",
        "The three matrices that lose most, have the longest tails, the most outlier columns, the "
        "largest inputs; each once.",
        (),
    )
    for one in found.unusual:
        view = one.view
        yield Section(
            view.module,
            one.why,
            (
                spreads.histogram_picture(view, asymmetric=found.asymmetric),
                *spreads.channels_picture(view),
                _losses(view),
            ),
            folded=True,
        )


def _losses(view: MatrixView) -> Table:
    return Table(
        (
            "rounded to",
            "dB",
            "mean squared error",
            "rounding %",
            "clipping %",
            "ends of the grid %",
        ),
        tuple(
            (
                loss.name,
                rounded(view.sqnr(loss.bits, loss.granularity)),
                rounded(loss.parts.mse),
                *(
                    rounded(100 * part / loss.parts.mse) if loss.parts.mse > 0 else None
                    for part in (loss.parts.rounding, loss.parts.clipping, loss.parts.zero_point)
                ),
            )
            for loss in view.losses
        ),
        f"{view.module}, {view.shape[0]} x {view.shape[1]}",
    )


def _every(found: ModelInspection) -> Section:
    rows = tuple(
        (
            view.module,
            rounded(view.spread.kurtosis),
            rounded(view.spread.reach),
            rounded(view.columns.ratio),
            rounded(None if view.inputs is None else view.inputs.ratio),
            rounded(view.sqnr(8, "channel")),
            rounded(view.sqnr(4, "channel")),
            rounded(view.sqnr(4, "g64")),
            rounded(view.sqnr(3, "g64")),
        )
        for view in found.matrices
    )
    columns = (
        "linear",
        "kurtosis",
        "largest / σ",
        "column",
        "input",
        "8 channel",
        "4 channel",
        "4 g64",
        "3 g64",
    )
    return Section(
        "Every linear",
        f"All {len(rows)}; `--json` has the numbers behind them.",
        (Table(columns, rows, "Signal to noise in dB, by bits and what shares a scale."),),
        folded=True,
    )


def rounded(value: float | None) -> float | None:
    """Three digits: no more are read, and ten thousand rows stay small."""
    return None if value is None else float(f"{value:.3g}")
