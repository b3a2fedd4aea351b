"""Ranges of a stream against ranges of everything at once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.calibration.statistics import AbsMax, MinMax, MovingMinMax, Statistic
from tersor.errors import RecipeError, SourceError, TextError


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


@given(streams(), st.floats(0, 0.99))
@settings(deadline=None)
def test_moving_average(pieces: list[Tensor], momentum: float) -> None:
    statistic = MovingMinMax(momentum)
    for piece in pieces:
        statistic.update(piece)
    found = statistic.result()
    filled = [piece.double() for piece in pieces if len(piece)]
    weights = [(1 - momentum) * momentum**i for i in range(len(filled))]
    # The first update has the weight of all that would have come before it.
    weights[-1] /= 1 - momentum
    low, high, lowest, highest = 0.0, 0.0, 0.0, 0.0
    for weight, piece in zip(weights, reversed(filled), strict=True):
        low, high = low + weight * piece.amin(0), high + weight * piece.amax(0)
        lowest, highest = lowest + weight * piece.min(), highest + weight * piece.max()
    torch.testing.assert_close(found.minimum.double(), low, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.maximum.double(), high, rtol=1e-6, atol=1e-9)
    assert found.tensor_minimum == pytest.approx(float(lowest), rel=1e-6)
    assert found.tensor_maximum == pytest.approx(float(highest), rel=1e-6)
    assert found.tokens == sum(map(len, filled))


@pytest.mark.parametrize("momentum", [1.0, -0.1, math.nan])
def test_momentum_must_make_sense(momentum: float) -> None:
    with pytest.raises(RecipeError, match="momentum"):
        MovingMinMax(momentum)


@pytest.mark.parametrize("make", [MinMax, MovingMinMax, AbsMax])
def test_nothing_seen(make: type[Statistic[object]]) -> None:
    statistic = make()
    statistic.update(torch.zeros(0, 3))
    with pytest.raises(TextError, match="no token"):
        statistic.result()


@pytest.mark.parametrize("make", [MinMax, MovingMinMax, AbsMax])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_overflow_is_an_error(make: type[Statistic[object]], bad: float) -> None:
    with pytest.raises(SourceError, match="NaN or infinite"):
        make().update(torch.tensor([[0.0, 1.0], [bad, 2.0]]))


def test_a_result_does_not_change_with_later_updates() -> None:
    for statistic in (MinMax(), MovingMinMax()):
        statistic.update(torch.zeros(1, 2))
        before = statistic.result()
        statistic.update(torch.ones(1, 2))
        assert before.maximum.tolist() == [0.0, 0.0]
        assert statistic.result().maximum.tolist() != [0.0, 0.0]
