"""Pictures of matrices: how weights are spread, what is lost, which channels stand out."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from tersor.inspection.distribution import BINS
from tersor.inspection.losses import GRANULARITIES, WIDTHS, fitted_levels
from tersor.inspection.matrix import MatrixView
from tersor.inspection.roles import median_sqnr
from tersor.report.html import FAINT, SERIES, Picture, hint, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
# Of several thousand channels; every one of them is in the line of its picture up to here.
_POINTS = 400


def losses_picture(views: Sequence[MatrixView]) -> Picture:
    """Signal to noise by width, a line for each granularity."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for number, granularity in enumerate(GRANULARITIES):
            pairs = [(bits, median_sqnr(views, bits, granularity)) for bits in WIDTHS]
            known = [(bits, sqnr) for bits, sqnr in pairs if sqnr is not None]
            line = axes.plot(*zip(*known, strict=True), marker=_MARKERS[number], label=granularity)
            hint(line[0], f"one scale per {granularity}")
        axes.set_xticks(sorted(WIDTHS))
        axes.set_xlabel("bits of a code")
        axes.set_ylabel("signal to noise, dB")
        axes.legend(title="one scale per")

    return picture(
        draw,
        alt="Lines of signal to noise against bits, higher for smaller groups",
        caption="Median over all matrices. A bit more is worth about 6 dB, half the error; so is a "
        "scale for fewer weights where few bits are.",
    )


def blocks_picture(views: Sequence[MatrixView]) -> Picture:
    """Signal to noise at 4 bits g64 over the blocks, a line for each role."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _by_block(axes, views, lambda view: view.sqnr(4, "g64"))
        axes.set_ylabel("signal to noise, dB")

    return picture(
        draw,
        alt="A line for each role: signal to noise over the blocks",
        caption="Lower is harder. Of experts, the median of a block.",
        height=3.6,
    )


def inputs_picture(views: Sequence[MatrixView]) -> Picture:
    """The largest input channel against the median one, over the blocks."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _by_block(axes, views, lambda view: None if view.inputs is None else view.inputs.ratio)
        axes.set_yscale("log")
        axes.set_ylabel("largest / median channel")

    return picture(
        draw,
        alt="A line for each role: how far the largest input channel is over the median one",
        caption="1 would be channels that are all alike. Linears that read the same input lie on "
        "one line.",
        height=3.6,
    )


def _by_block(
    axes: "Axes", views: Sequence[MatrixView], measure: Callable[[MatrixView], float | None]
) -> None:
    from matplotlib.ticker import MaxNLocator

    members: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for view in views:
        value = measure(view)
        if value is not None:
            members[view.role][view.block].append(value)
    for number, (role, blocks) in enumerate(members.items()):
        values = [(block, median(found)) for block, found in sorted(blocks.items())]
        line = axes.plot(
            *zip(*values, strict=True),
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linestyle="-" if number < len(SERIES) else "--",
            label=role,
        )
        hint(line[0], role)
    axes.set_xlabel("block")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def histogram_picture(view: MatrixView, *, asymmetric: bool) -> Picture:
    """How the weights are spread, with the levels of a 4-bit grid for the whole matrix."""
    spread = view.spread
    levels = fitted_levels(spread.lowest, spread.highest, 4, asymmetric=asymmetric)
    width = 2 * spread.largest / BINS
    near = sum(
        count
        for at, count in enumerate(spread.histogram)
        if abs((at + 0.5) * width - spread.largest) <= 3 * spread.deviation
    )
    inside = sum(1 for level in levels if abs(level) <= 3 * spread.deviation)
    share = near / max(1, sum(spread.histogram))

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        edges = [-spread.largest + width * at for at in range(BINS)]
        shares = [count / view.weights for count in spread.histogram]
        axes.bar(edges, shares, width=width, align="edge", color=SERIES[0], linewidth=0)
        axes.set_yscale("symlog", linthresh=1 / view.weights)
        axes.set_yticks([])
        for level in levels:
            axes.axvline(level, color=SERIES[1], linewidth=0.8)
        axes.set_xlabel("weight")
        axes.set_ylabel("how many (logarithmic)")

    return picture(
        draw,
        alt=f"Histogram of the weights with the {len(levels)} levels of a 4-bit grid as lines",
        caption=f"Weights, and the {len(levels)} levels of 4 bits with one scale for the matrix: "
        f"{share:.1%} of the weights lie within 3 standard deviations, and of the levels {inside}.",
        height=2.4,
    )


def channels_picture(view: MatrixView) -> tuple[Picture, ...]:
    """Largest magnitude of every column and of every input channel, sorted."""
    seen = [("columns of weights", view.columns)]
    if view.inputs is not None:
        seen.append(("channels of the input", view.inputs))

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for name, found in seen:
            values = found.sorted_ / found.median if found.median > 0 else found.sorted_
            ranks = list(range(1, len(values) + 1))
            step = max(1, len(values) // _POINTS)
            # The largest are all there; further on, where the line is smooth, one in a few.
            kept = [at for at in range(len(values)) if at < _POINTS // 4 or at % step == 0]
            axes.plot(
                [ranks[at] for at in kept],
                [max(float(values[at]), 1e-3) for at in kept],
                label=name,
            )
        axes.axhline(1, color=FAINT, linewidth=0.7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rank")
        axes.set_ylabel("against the median")
        axes.legend()

    return (
        picture(
            draw,
            alt="Falling lines: the largest magnitude of every column and channel, by rank",
            caption="The largest magnitude of every column and of every input channel, the largest "
            "first, in units of the median. Flat is easy; a steep beginning is outliers.",
            height=2.4,
        ),
    )
