"""What there is to see, in sentences with numbers."""

from collections.abc import Iterator, Sequence
from statistics import median

from tersor.inspection.columns import FAR
from tersor.inspection.losses import GRANULARITIES
from tersor.inspection.matrix import CodesView, MatrixView
from tersor.inspection.roles import median_sqnr


def model_findings(views: Sequence[MatrixView], asymmetric: bool) -> tuple[str, ...]:
    """Of a model, the most important first."""
    found = (
        *_little_at_eight(views),
        *_groups_at_four(views),
        *_hardest(views),
        *_sources(views, asymmetric),
        *_tails(views),
        *_columns(views),
        *_inputs(views),
    )
    return tuple(found)


def relative(sqnr_db: float) -> float:
    """A signal-to-noise ratio as what the usual error is of the usual value."""
    return float(10 ** (-sqnr_db / 20))


def times(ratio: float) -> str:
    """Three digits, and never a power of ten."""
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def _little_at_eight(views: Sequence[MatrixView]) -> Iterator[str]:
    usual = median_sqnr(views, 8, "channel")
    measured = [(sqnr, v.module) for v in views if (sqnr := v.sqnr(8, "channel")) is not None]
    if usual is None or not measured:
        return
    least, module = min(measured)
    yield (
        f"8 bits, one scale per channel: the usual error is {relative(usual):.2g} of the usual "
        f"weight ({usual:.3g} dB) in the median matrix, {relative(least):.2g} ({least:.3g} dB) in "
        f"the worst, {module}."
    )


def _groups_at_four(views: Sequence[MatrixView]) -> Iterator[str]:
    found = [(g, median_sqnr(views, 4, g)) for g in GRANULARITIES]
    said = [f"{sqnr:.3g} dB per {g}" for g, sqnr in found if sqnr is not None]
    if said:
        yield (
            f"4 bits, by how many weights share a scale (medians): {', '.join(said)}. 6 dB more is "
            "half the error, and what one more bit gives."
        )


def _hardest(views: Sequence[MatrixView]) -> Iterator[str]:
    measured = [(sqnr, v.module) for v in views if (sqnr := v.sqnr(4, "g128")) is not None]
    if len(measured) > 1:
        (least, module), (most, easiest) = min(measured), max(measured)
        yield (
            f"Hardest at 4 bits g128 is {module} with {least:.3g} dB, easiest {easiest} with "
            f"{most:.3g} dB."
        )


def _sources(views: Sequence[MatrixView], asymmetric: bool) -> Iterator[str]:
    parts = [(v.weights, part) for v in views if (part := v.loss(4, "channel")) is not None]
    total = sum(weights * part.mse for weights, part in parts)
    if total <= 0:
        return
    rounding = sum(weights * part.rounding for weights, part in parts) / total
    rest = sum(weights * part.zero_point for weights, part in parts) / total
    cause = "by zero points that are whole numbers" if asymmetric else "at the ends of the grid"
    yield (
        f"Of the squared error at 4 bits per channel, {rounding:.1%} is rounding and {rest:.1%} is "
        f"lost {cause}; nothing is clipped, the ranges being the smallest and largest weight."
    )


def _tails(views: Sequence[MatrixView]) -> Iterator[str]:
    heavy = [view for view in views if view.spread.kurtosis > 0]
    longest = max(views, key=lambda view: view.spread.kurtosis)
    usual = median(view.spread.kurtosis for view in views)
    yield (
        f"{len(heavy)} of {len(views)} matrices have longer tails than a bell curve: excess "
        f"kurtosis {usual:.3g} in the median, {longest.spread.kurtosis:.3g} in {longest.module}, "
        f"whose largest weight is {times(longest.spread.reach)} standard deviations."
    )


def _columns(views: Sequence[MatrixView]) -> Iterator[str]:
    having = [view for view in views if view.columns.count]
    if not having:
        yield f"No matrix has a column {FAR:g} times as large as its median column."
        return
    most = max(having, key=lambda view: view.columns.count / view.columns.columns)
    yield (
        f"{len(having)} of {len(views)} matrices have columns at least {FAR:g} times as large as "
        f"their median column; most has {most.module}: {most.columns.count} of "
        f"{most.columns.columns}, the largest {times(most.columns.ratio)} times."
    )


def _inputs(views: Sequence[MatrixView]) -> Iterator[str]:
    seen = [(view.inputs.ratio, view) for view in views if view.inputs is not None]
    if not seen:
        return
    ratio, view = max(seen, key=lambda pair: pair[0])
    usual = median(found for found, _ in seen)
    columns = median(view.columns.ratio for view in views)
    assert view.inputs is not None
    channel = view.inputs.top[0][0]
    said = (
        f"the largest channel is {times(usual)} times the median one (medians; columns of weights: "
        f"{columns:.3g}), and {times(ratio)} times in {view.module} (channel {channel})."
    )
    if usual > columns:
        yield f"Inputs have larger outliers than weights: {said} AWQ and SmoothQuant see to that."
    else:
        yield f"Of inputs {said}"


def codes_findings(views: Sequence[CodesView]) -> tuple[str, ...]:
    """Of an artifact."""
    return (*_lost(views), *_entropy(views), *_unused(views))


def _lost(views: Sequence[CodesView]) -> Iterator[str]:
    measured = [(view.sqnr_db, view.module) for view in views if view.sqnr_db is not None]
    if not measured:
        return
    least, module = min(measured)
    usual = median(sqnr for sqnr, _ in measured)
    yield (
        f"Against the original the usual error is {relative(usual):.2g} of the usual weight "
        f"({usual:.3g} dB) in the median matrix, {relative(least):.2g} ({least:.3g} dB) in the "
        f"worst, {module}."
    )


def _entropy(views: Sequence[CodesView]) -> Iterator[str]:
    weights = sum(view.weights for view in views)
    stored = sum(view.weights * view.codes.bits for view in views) / weights
    held = sum(view.weights * view.codes.entropy for view in views) / weights
    yield (
        f"Codes take {stored:.3g} bits and hold {held:.3g} bits of information: they would shrink "
        f"by {1 - held / stored:.0%} at most if they were compressed."
    )


def _unused(views: Sequence[CodesView]) -> Iterator[str]:
    least = min(views, key=lambda view: view.codes.share_used)
    if least.codes.share_used == 1:
        yield "Every code that there is occurs in every matrix."
        return
    usual = median(view.codes.share_used for view in views)
    yield (
        f"{usual:.0%} of the codes that there are occur in the median matrix, "
        f"{least.codes.share_used:.0%} ({least.codes.used} of {least.codes.possible}) in "
        f"{least.module}."
    )
