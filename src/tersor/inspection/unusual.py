"""Which matrices stand out, and by what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tersor.inspection.findings import times
from tersor.inspection.matrix import MatrixView

_EACH = 3


@dataclass(frozen=True)
class Unusual:
    """A matrix that is among the first of all in ``why``."""

    view: MatrixView
    why: str

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types."""
        return {"module": self.view.module, "why": self.why}


def unusual(views: Sequence[MatrixView]) -> tuple[Unusual, ...]:
    """The three that lose most, have the longest tails, most outlier columns, largest inputs.

    Each once, with all that it stands out by.
    """
    whys: dict[str, list[str]] = {}
    by_name = {view.module: view for view in views}
    for measure, said in _MEASURES:
        measured = ((value, view) for view in views if (value := measure(view)) is not None)
        ranked = sorted(measured, key=lambda pair: -pair[0])
        for value, view in ranked[:_EACH]:
            if value != 0:
                whys.setdefault(view.module, []).append(said(view))
    return tuple(Unusual(by_name[name], "; ".join(why)) for name, why in whys.items())


def _lost(view: MatrixView) -> float | None:
    sqnr = view.sqnr(4, "g128")
    return None if sqnr is None else -sqnr


def _tail(view: MatrixView) -> float | None:
    return view.spread.kurtosis if view.spread.kurtosis > 0 else None


def _columns(view: MatrixView) -> float | None:
    return view.columns.count / view.columns.columns


def _inputs(view: MatrixView) -> float | None:
    return None if view.inputs is None else view.inputs.ratio


_MEASURES: tuple[tuple[Callable[[MatrixView], float | None], Callable[[MatrixView], str]], ...] = (
    (_lost, lambda view: f"loses most at 4 bits g128: {view.sqnr(4, 'g128'):.3g} dB"),
    (
        _tail,
        lambda view: (
            f"long tails: excess kurtosis {view.spread.kurtosis:.3g}, largest weight "
            f"{times(view.spread.reach)} standard deviations"
        ),
    ),
    (
        _columns,
        lambda view: f"{view.columns.count} of {view.columns.columns} columns are outliers",
    ),
    (
        _inputs,
        lambda view: (
            ""
            if view.inputs is None
            else (f"largest input channel is {times(view.inputs.ratio)} times the median")
        ),
    ),
)
