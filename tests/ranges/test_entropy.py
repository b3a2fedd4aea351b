"""The entropy threshold against a plain version, and what it is for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, TensorScheme
from tersor.ranges import Entropy
from tersor.ranges.entropy import clipped_divergence

STORAGE = ScaleStorage(torch.float32)


def scheme(bits: int) -> TensorScheme:
    return TensorScheme(IntegerGrid(bits), Granularity.TENSOR)


def naive_divergence(counts: list[float], kept: int, levels: int) -> float:
    """The definition with Python's numbers."""
    reference = counts[:kept]
    reference[-1] += sum(counts[kept:])
    quantized = [0.0] * kept
    for level in range(levels):
        members = [i for i in range(kept) if i * levels // kept == level]
        occupied = [i for i in members if counts[i] > 0]
        for i in occupied:
            quantized[i] = sum(counts[m] for m in members) / len(occupied)
    total_p, total_q = sum(reference), sum(quantized) or 1.0
    divergence = 0.0
    for count, mass in zip(reference, quantized, strict=True):
        p, q = count / total_p, 0.9999 * mass / total_q + 0.0001 / kept
        divergence += p * math.log(p / q) if p > 0 else 0.0
    return divergence


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=12, max_size=40).filter(any),
    st.integers(2, 6),
    st.integers(6, 12),
)
def test_divergence_against_the_definition(counts: list[int], levels: int, kept: int) -> None:
    found = clipped_divergence(torch.tensor(counts, dtype=torch.float64), kept, levels)
    expected = naive_divergence([float(count) for count in counts], kept, levels)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def naive_threshold(values: Tensor, bins: int, stride: int, levels: int) -> float:
    magnitudes = values.abs().tolist()
    top = max(magnitudes)
    counts = [0.0] * bins
    for magnitude in values.abs():
        counts[min(int(magnitude / top * bins), bins - 1)] += 1
    candidates = [*range(levels, bins, stride), bins]
    best = min(candidates, key=lambda kept: naive_divergence(list(counts), kept, levels))
    return top * best / bins


@pytest.mark.parametrize("bits", [3, 4])
def test_threshold_against_a_plain_version(bits: int) -> None:
    values = torch.randn(1200, generator=torch.Generator().manual_seed(bits)) ** 3
    low, high = Entropy(bins=128, stride=4).bounds(values.reshape(1, 1, -1), scheme(bits), STORAGE)
    threshold = naive_threshold(values, 128, 4, 1 << (bits - 1))
    assert high.item() == pytest.approx(min(threshold, values.max().item()), rel=1e-6)
    assert low.item() == pytest.approx(max(-threshold, values.min().item()), rel=1e-6)


def test_outliers_are_cut_and_plain_values_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20000, generator=generator)
    values[:4] = 200.0
    low, high = Entropy().bounds(values.reshape(1, 1, -1), scheme(8), STORAGE)
    assert high.item() < 50
    assert low.item() == values.min()
    uniform = torch.rand(20000, generator=generator) * 2 - 1
    low, high = Entropy().bounds(uniform.reshape(1, 1, -1), scheme(8), STORAGE)
    assert high.item() > 0.95
    assert low.item() < -0.95


def test_counts_stand_for_repetitions() -> None:
    values = torch.randn(1024, generator=torch.Generator().manual_seed(3)) ** 3
    counts = torch.arange(1024) % 3 + 1
    repeated = values.repeat_interleave(counts)
    weighted = Entropy(bins=256).bounds(
        values.reshape(1, 1, -1), scheme(4), STORAGE, counts.float().reshape(1, 1, -1)
    )
    plain = Entropy(bins=256).bounds(repeated.reshape(1, 1, -1), scheme(4), STORAGE)
    assert torch.equal(torch.stack(weighted), torch.stack(plain))


@pytest.mark.parametrize(
    "values",
    [torch.zeros(1024), torch.full((1024,), 1e-45), torch.linspace(0, 1e-43, 1024)],
    ids=["zeros", "smallest denormal", "denormals"],
)
def test_next_to_nothing(values: Tensor) -> None:
    low, high = Entropy().bounds(values.reshape(1, 1, -1), scheme(8), STORAGE)
    assert low.item() == values.min()
    assert 0 <= high.item() <= values.max().item()


def test_no_importance_at_all_keeps_the_range() -> None:
    values = torch.randn(1, 1, 1024, generator=torch.Generator().manual_seed(0))
    found = Entropy().bounds(values, scheme(8), STORAGE, torch.zeros(1, 1, 1024))
    assert torch.equal(torch.stack(found), torch.stack(values.aminmax(dim=-1)))


def test_more_levels_than_bins_keep_the_range() -> None:
    values = torch.randn(1, 1, 1024, generator=torch.Generator().manual_seed(0))
    found = Entropy(bins=64).bounds(values, scheme(8), STORAGE)
    assert torch.equal(torch.stack(found), torch.stack(values.aminmax(dim=-1)))


def test_small_groups_are_refused() -> None:
    with pytest.raises(RecipeError, match="needs 1024 values per scale and a group has 64"):
        Entropy().bounds(torch.zeros(1, 1, 64), scheme(8), STORAGE)


@pytest.mark.parametrize(("bins", "stride"), [(0, 8), (2048, 0), (-5, 8), (2048, -1)])
def test_histograms_that_make_no_sense(bins: int, stride: int) -> None:
    with pytest.raises(RecipeError, match="range entropy"):
        Entropy(bins, stride)
