"""Ranges of a stream against ranges of everything at once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.calibration.statistics import AbsMax, MinMax, Statistic, WindowRanges
from tersor.errors import SourceError, TextError


@st.composite
def streams(draw: st.DrawFn) -> list[Tensor]:
    """Pieces ``(tokens, in)`` of one stream, some without a row."""
    channels = draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return [torch.randn(size, channels, generator=generator) * scale for size in sizes]


@given(streams())
@settings(deadline=None)
def test_minmax(pieces: list[Tensor]) -> None:
    statistic, x = MinMax(), torch.cat(pieces)
    for piece in pieces:
        statistic.update(piece)
    found = statistic.result()
    assert torch.equal(found.minimum, x.amin(0))
    assert torch.equal(found.maximum, x.amax(0))
    assert (found.tensor_minimum, found.tensor_maximum) == (float(x.min()), float(x.max()))
    assert found.tokens == len(x)


@given(streams())
@settings(deadline=None)
def test_absmax(pieces: list[Tensor]) -> None:
    statistic, x = AbsMax(), torch.cat(pieces)
    for piece in pieces:
        statistic.update(piece)
    assert torch.equal(statistic.result().values, x.abs().amax(0))
    assert statistic.result().tokens == len(x)


@given(streams())
@settings(deadline=None)
def test_ranges_of_windows(pieces: list[Tensor]) -> None:
    statistic = WindowRanges()
    for piece in pieces:
        statistic.update(piece)
    lows, highs = statistic.result()
    filled = [piece for piece in pieces if len(piece)]
    assert lows.tolist() == [float(piece.min()) for piece in filled]
    assert highs.tolist() == [float(piece.max()) for piece in filled]


@pytest.mark.parametrize("make", [MinMax, WindowRanges, AbsMax])
def test_nothing_seen(make: type[Statistic[object]]) -> None:
    statistic = make()
    statistic.update(torch.zeros(0, 3))
    with pytest.raises(TextError, match="no token"):
        statistic.result()


@pytest.mark.parametrize("make", [MinMax, WindowRanges, AbsMax])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_overflow_is_an_error(make: type[Statistic[object]], bad: float) -> None:
    with pytest.raises(SourceError, match="NaN or infinite"):
        make().update(torch.tensor([[0.0, 1.0], [bad, 2.0]]))


def test_a_result_does_not_change_with_later_updates() -> None:
    statistic, windows = MinMax(), WindowRanges()
    for running in (statistic, windows):
        running.update(torch.zeros(1, 2))
    before, (_, highs) = statistic.result(), windows.result()
    for running in (statistic, windows):
        running.update(torch.ones(1, 2))
    assert before.maximum.tolist() == [0.0, 0.0]
    assert statistic.result().maximum.tolist() == [1.0, 1.0]
    assert highs.tolist() == [0.0]
    assert windows.result()[1].tolist() == [0.0, 1.0]
