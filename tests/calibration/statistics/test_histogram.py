"""The histogram of a stream is the histogram of everything at once, bin by bin."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.calibration.statistics import Histogram, RunningHistogram
from tersor.errors import RecipeError, SourceError, TextError

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
PIECES = st.lists(st.lists(FLOATS, min_size=0, max_size=6), min_size=1, max_size=6).filter(any)
BINS = st.sampled_from([2, 6, 16, 64])


def run(pieces: list[list[float]], bins: int) -> Histogram:
    statistic = RunningHistogram(bins)
    for piece in pieces:
        statistic.update(torch.tensor(piece, dtype=torch.float32)[:, None])
    return statistic.result()


@given(PIECES, BINS)
@settings(deadline=None)
def test_counts_are_those_of_the_final_bins(pieces: list[list[float]], bins: int) -> None:
    found = run(pieces, bins)
    values = [value for piece in pieces for value in piece]
    expected = [0] * bins
    for value in values:
        expected[math.floor(value / found.width) + bins // 2] += 1
    assert found.counts.tolist() == expected
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.tokens == len(values)
    assert math.frexp(found.width)[0] == 0.5


@given(PIECES, BINS)
@settings(deadline=None)
def test_neither_order_nor_cuts_matter(pieces: list[list[float]], bins: int) -> None:
    found = run(pieces, bins)
    whole = run([sorted(value for piece in pieces for value in piece)], bins)
    assert found.width == whole.width
    assert torch.equal(found.counts, whole.counts)


@given(PIECES, BINS)
@settings(deadline=None)
def test_the_bins_are_no_wider_than_needed(pieces: list[list[float]], bins: int) -> None:
    found = run(pieces, bins)
    if found.width > 2.0**-149:
        half = bins // 2 * found.width / 2
        assert found.maximum >= half or found.minimum < -half


@given(PIECES, st.floats(0, 1))
@settings(deadline=None)
def test_quantiles_are_off_by_a_bin_at_most(pieces: list[list[float]], share: float) -> None:
    found = run(pieces, 64)
    values = sorted(value for piece in pieces for value in piece)
    place = max(math.ceil(share * len(values)) - 1, 0)
    assert found.quantile(share) == pytest.approx(values[place], rel=1e-6, abs=found.width)
    assert found.quantile(0) == found.minimum
    assert found.quantile(1) == found.maximum


def test_quantiles_of_a_normal_distribution() -> None:
    statistic = RunningHistogram()
    x = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0))
    statistic.update(x)
    for share in (0.001, 0.25, 0.5, 0.999):
        expected = float(x.flatten().quantile(share))
        assert statistic.result().quantile(share) == pytest.approx(expected, abs=0.01)


def test_edges_and_centres() -> None:
    found = run([[-0.9, 0.0, 0.3, 0.99]], 4)
    assert found.edges.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert found.centres.tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert found.counts.tolist() == [1, 0, 2, 1]


def test_only_zeros() -> None:
    found = run([[0.0, 0.0]], 4)
    assert found.counts.tolist() == [0, 0, 2, 0]
    assert found.quantile(0.5) == 0.0


def test_long_updates_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from tersor.calibration.statistics import histogram

    x: Tensor = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    whole, pieces = RunningHistogram(64), RunningHistogram(64)
    whole.update(x)
    monkeypatch.setattr(histogram, "_CHUNK", 7)
    pieces.update(x)
    assert torch.equal(whole.result().counts, pieces.result().counts)


@pytest.mark.parametrize("bins", [0, -2, 7])
def test_bins_must_be_even(bins: int) -> None:
    with pytest.raises(RecipeError, match="even number"):
        RunningHistogram(bins)


def test_shares_must_be_shares() -> None:
    with pytest.raises(RecipeError, match=r"share 1\.5"):
        run([[1.0]], 4).quantile(1.5)


def test_nothing_seen_and_overflow() -> None:
    statistic = RunningHistogram()
    statistic.update(torch.zeros(0, 3))
    with pytest.raises(TextError, match="no token"):
        statistic.result()
    with pytest.raises(SourceError, match="NaN or infinite"):
        statistic.update(torch.tensor([[math.nan]]))
