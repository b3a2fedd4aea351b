"""What calibration can see of the rows that linears read, and how methods ask for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor


class Need(StrEnum):
    """A field of :class:`Observation` that somebody needs; nothing else is gathered."""

    MEAN = "mean"
    MEAN_SQUARE = "mean_square"
    MEAN_MAGNITUDE = "mean_magnitude"
    LARGEST = "largest"
    SAMPLE = "sample"
    SECOND_MOMENTS = "hessian"
    STREAM = "stream"
    DRIFT = "drift"
    """The original model runs beside the quantized one, which takes a second forward."""


Needs = frozenset[Need]
NOTHING: Needs = frozenset()


def all_needs(needs: Iterable[Needs]) -> Needs:
    """What several methods need together."""
    return NOTHING.union(*needs)


@dataclass(frozen=True, eq=False)
class Drift:
    """How the quantized blocks before a stage have changed what it reads and adds to.

    x̃ is what the original model reads at the stage and x what the quantized one does.
    ``inputs``: ``E[(x̃ − x) xᵀ]`` fp32 ``(in, in)``. ``stream``: ``E[(h̃ − h) xᵀ]`` fp32
    ``(hidden, in)`` with h the residual stream that the stage's output is added to; ``None`` where
    it is added to nothing.
    """

    inputs: Tensor
    stream: Tensor | None


@dataclass(frozen=True, eq=False)
class Stream:
    """All values of an input, as they come: window after window.

    - ``lows``, ``highs``: of every window, float32 ``(windows,)``
    - ``centres``, ``counts``: histogram of all values, float32 ``(bins,)``
    """

    lows: Tensor
    highs: Tensor
    centres: Tensor
    counts: Tensor


@dataclass(frozen=True, eq=False)
class Observation:
    """Statistics of the rows that the linears of one stage read, ``tokens`` of them.

    ``hessian``: ``E[x xᵀ]`` fp32 ``(in, in)``; ``mean_square``: ``E[x_j²]``, its diagonal;
    ``mean``: ``E[x_j]``; ``mean_magnitude``: ``E[|x_j|]``; ``largest``: ``max|x_j|``; all fp32
    ``(in,)``. ``sample``: some 512 of the rows, fp32. ``drift``: from the original model.
    ``stream``: for ranges of static activations. Each is ``None`` if nobody asked for it.
    """

    tokens: int = 0
    hessian: Tensor | None = None
    mean_square: Tensor | None = None
    mean: Tensor | None = None
    mean_magnitude: Tensor | None = None
    largest: Tensor | None = None
    sample: Tensor | None = None
    drift: Drift | None = None
    stream: Stream | None = None
