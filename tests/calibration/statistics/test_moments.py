"""Means of a stream against means of everything at once, in fp64."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.calibration.statistics import Mean, MeanMagnitude, MeanSquare, PerChannel, Statistic
from tersor.errors import SourceError, TextError

TERMS: dict[type[Statistic[PerChannel]], Callable[[Tensor], Tensor]] = {
    Mean: lambda x: x,
    MeanMagnitude: torch.abs,
    MeanSquare: torch.square,
}


@pytest.mark.parametrize("make", TERMS)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    seed=st.integers(0, 2**31),
    offset=st.floats(-100, 100),
)
@settings(deadline=None, max_examples=50)
def test_means(
    make: type[Statistic[PerChannel]], sizes: list[int], seed: int, offset: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pieces = [torch.randn(size, 3, generator=generator) + offset for size in sizes]
    statistic = make()
    for piece in pieces:
        statistic.update(piece)
    found = statistic.result()
    expected = TERMS[make](torch.cat(pieces).double()).mean(0)
    torch.testing.assert_close(found.values.double(), expected, rtol=1e-6, atol=1e-6)
    assert found.values.dtype == torch.float32
    assert found.tokens == sum(sizes)


def test_a_long_stream_loses_nothing() -> None:
    statistic = Mean()
    for _ in range(1000):
        statistic.update(torch.full((64, 1), 0.1))
    # A sum in fp32 would be off in the sixth digit.
    assert float(statistic.result().values) == float(torch.tensor(0.1))


def test_half_precision_is_squared_in_fp32() -> None:
    statistic = MeanSquare()
    statistic.update(torch.full((2, 1), 300.0, dtype=torch.float16))
    assert float(statistic.result().values) == 90_000


@pytest.mark.parametrize("make", TERMS)
def test_nothing_seen_and_overflow(make: type[Statistic[PerChannel]]) -> None:
    statistic = make()
    statistic.update(torch.zeros(0, 3))
    with pytest.raises(TextError, match="no token"):
        statistic.result()
    with pytest.raises(SourceError, match="NaN or infinite"):
        statistic.update(torch.tensor([[math.inf]]))
