"""Values through a grid, one step after the other."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tersor.grids import Grid, value_parts


@dataclass(frozen=True)
class Step:
    """One value ``w`` on its way to a code and back.

    ``scaled``: ``w / s``; ``rounded``: the whole number, or the level of a codebook, nearest to it;
    ``tie``: whether two were as near; ``shifted``: ``rounded + z``, which ``clipped`` codes are
    not; ``None`` where codes are no integers. ``restored``: what the code stands for. ``error``:
    ``w − restored``, the sum of ``rounding``, ``clipping`` and ``zero_point``
    (:mod:`tersor.grids.error`).

    All floats are float32, written in as few digits as tell them apart.
    """

    value: float
    scaled: float
    rounded: float
    tie: bool
    shifted: int | None
    clipped: bool
    code: int
    restored: float
    error: float
    rounding: float
    clipping: float
    zero_point: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def steps(
    grid: Grid,
    values: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> tuple[Step, ...]:
    """The way of every value, float32 ``(n,)``.

    ``scale``: float32 scalar, as stored; ``zero_point``: scalar of the code type; ``bounds``: the
    range that they were fitted to, scalars. Without it the grid's span counts as the range.
    """
    codes = grid.encode(values, scale, zero_point)
    return steps_to(grid, values, codes, scale, zero_point, bounds)


def steps_to(
    grid: Grid,
    values: Tensor,
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bounds: tuple[Tensor, Tensor] | None = None,
) -> tuple[Step, ...]:
    """The same for codes that were chosen by whatever method; ``(n,)``, of the code type."""
    restored = grid.decode(codes, scale, zero_point)
    span = grid.span(scale, zero_point)
    ends = span if bounds is None else (bounds[0].clamp(max=0), bounds[1].clamp(min=0))
    parts = value_parts(values, restored, ends, span)
    scaled = values / scale
    floats = (values, scaled, restored, values - restored, *parts)
    columns = [shortest(one) for one in floats]
    nearest = _nearest(grid, values, scaled, scale, zero_point)
    return tuple(
        Step(w, x, rounded, tie, shifted, cut, code, back, *lost)
        for (w, x, back, *lost), (rounded, tie, shifted, cut), code in zip(
            zip(*columns, strict=True), nearest, code_numbers(codes), strict=True
        )
    )


def shortest(values: Tensor) -> list[float]:
    """Float32 numbers, each by the fewest digits that tell it from its neighbours."""
    # Adding 0 makes a negative zero positive: nobody means one.
    return [float(str(value)) for value in (values.float() + 0.0).reshape(-1).numpy()]


def code_numbers(codes: Tensor) -> list[int]:
    """Codes as numbers: those of float8 by their byte."""
    plain = codes.view(torch.uint8) if codes.dtype.is_floating_point else codes
    return [int(code) for code in plain.reshape(-1).tolist()]


def _nearest(
    grid: Grid, values: Tensor, scaled: Tensor, scale: Tensor, zero_point: Tensor | None
) -> Iterator[tuple[float, bool, int | None, bool]]:
    """Of every value: ``rounded``, ``tie``, ``shifted``, ``clipped``."""
    integers = grid.integers
    if integers is None:
        yield from _nearest_levels(grid, values, scaled, scale)
        return
    zero = integers.zero if zero_point is None else int(zero_point)
    for x in scaled.tolist():
        rounded = round(x)
        shifted = rounded + zero
        cut = not integers.lowest <= shifted <= integers.highest
        yield rounded, x % 1 == 0.5, shifted, cut


def _nearest_levels(
    grid: Grid, values: Tensor, scaled: Tensor, scale: Tensor
) -> Iterator[tuple[float, bool, int | None, bool]]:
    finite = sorted({level for level in grid.levels if abs(level) < float("inf")})
    middles = {(a + b) / 2 for a, b in pairwise(finite)}
    codes = code_numbers(grid.encode(values, scale, None))
    for x, code in zip(scaled.tolist(), codes, strict=True):
        cut = not finite[0] <= x <= finite[-1]
        yield grid.levels[code], x in middles, None, cut
