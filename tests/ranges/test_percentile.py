"""Percentiles against counting, value by value."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, TensorScheme
from tersor.ranges import Percentile

SCHEME = TensorScheme(IntegerGrid(8), Granularity.TENSOR)
STORAGE = ScaleStorage(torch.float32)


def bounds(share: float, values: list[float], counts: list[int] | None = None) -> list[float]:
    importance = None if counts is None else torch.tensor(counts).float().reshape(1, 1, -1)
    blocks = torch.tensor(values).reshape(1, 1, -1)
    low, high = Percentile(share).bounds(blocks, SCHEME, STORAGE, importance)
    assert low.shape == high.shape == (1, 1)
    return [low.item(), high.item()]


def naive(share: float, values: list[float], counts: list[int] | None) -> list[float]:
    """The smallest value with at least ``share`` of the mass at or below it, from either end."""
    pairs = sorted(zip(values, counts or [1] * len(values), strict=True))
    total = sum(count for _, count in pairs)

    def first(ordered: list[tuple[float, int]]) -> float:
        seen = 0
        for value, count in ordered:
            seen += count
            if seen >= share * total - total * 1e-12:
                return value
        raise AssertionError

    return [first(pairs[::-1]), first(pairs)]


numbers = st.integers(-50, 50).map(float)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([0.51, 0.6, 0.75, 0.9, 0.99, 0.999, 1.0]),
    st.lists(st.tuples(numbers, st.integers(0, 5)), min_size=1, max_size=40),
    st.booleans(),
)
def test_against_counting(share: float, pairs: list[tuple[float, int]], weigh: bool) -> None:
    values = [value for value, _ in pairs]
    counts = [count for _, count in pairs] if weigh and any(c for _, c in pairs) else None
    assert bounds(share, values, counts) == naive(share, values, counts)


def test_cuts_the_same_share_off_both_ends() -> None:
    values = torch.randperm(1001, generator=torch.Generator().manual_seed(0)).float() - 500
    assert bounds(0.99, values.tolist()) == [-490, 490]


def test_everything_is_min_max() -> None:
    assert bounds(1.0, [3.0, -7.0, 0.5]) == [-7.0, 3.0]


def test_counts_stand_for_repetitions() -> None:
    repeated = [1.0] * 10 + [2.0] * 80 + [9.0] * 10
    assert bounds(0.85, repeated) == bounds(0.85, [9.0, 1.0, 2.0], [10, 10, 80]) == [2.0, 2.0]


def test_a_group_of_no_importance_is_cut_as_if_all_values_counted() -> None:
    values = [float(v) for v in range(11)]
    assert bounds(0.9, values, [0] * 11) == bounds(0.9, values) == [1.0, 9.0]


def test_each_block_on_its_own() -> None:
    blocks = torch.arange(24.0).reshape(2, 3, 4)
    low, high = Percentile(0.75).bounds(blocks, SCHEME, STORAGE)
    assert torch.equal(low, blocks[..., 1])
    assert torch.equal(high, blocks[..., 2])


@pytest.mark.parametrize("share", [0.5, 0.0, -1.0, 1.1, float("nan")])
def test_shares_that_make_no_sense(share: float) -> None:
    with pytest.raises(RecipeError, match="share"):
        Percentile(share)


def test_importance_broadcasts_over_rows() -> None:
    blocks = torch.arange(8.0).reshape(2, 1, 4)
    importance: Tensor = torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(1, 1, 4)
    low, high = Percentile(1.0).bounds(blocks, SCHEME, STORAGE, importance)
    assert low.flatten().tolist() == [1.0, 5.0]
    assert high.flatten().tolist() == [2.0, 6.0]
