"""Lloyd's algorithm: what is guaranteed of the levels, held against the values themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tersor.grids.kinds.lloyd import fit_levels

HALF_BIN = 1 / 4096  # the histogram has 4096 bins on [-1, 1]


def squared_error(values: Tensor, levels: Tensor) -> float:
    return float((values.unsqueeze(-1) - levels).square().amin(-1).double().sum())


def samples(kind: str, count: int = 4000, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = {
        "gaussian": torch.randn(count, generator=generator),
        "heavy tails": torch.randn(count, generator=generator) ** 3,
        "uniform": torch.rand(count, generator=generator) * 2 - 1,
        "positive": torch.rand(count, generator=generator),
        "sparse": torch.randn(count, generator=generator)
        * (torch.rand(count, generator=generator) > 0.95),
        "two values": torch.tensor([-0.5, 1.0]).repeat(count // 2),
        "constant": torch.ones(count),
        "crowd below zero": torch.cat([torch.full((count - 2,), -0.1), torch.tensor([-1.0, 1.0])]),
        "one negative": torch.cat(
            [torch.rand(count - 1, generator=generator), -torch.ones(1) / 99]
        ),
    }[kind]
    return values / values.abs().max()


KINDS = [
    "gaussian",
    "heavy tails",
    "uniform",
    "positive",
    "sparse",
    "two values",
    "constant",
    "crowd below zero",
    "one negative",
]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_never_worse_than_a_uniform_grid(kind: str, bits: int) -> None:
    values = samples(kind)
    levels = torch.tensor(fit_levels(values, bits))
    uniform = torch.arange(-(1 << bits - 1), 1 << bits - 1) / (1 << bits - 1)
    # It is guaranteed for the histogram: a value may be half a bin off where it was counted.
    rounding = len(values) * HALF_BIN * (HALF_BIN + 2 * 2.0**-bits)
    assert squared_error(values, levels) <= squared_error(values, uniform) + rounding


@pytest.mark.parametrize("kind", KINDS)
def test_levels_ascend_and_contain_zero(kind: str) -> None:
    levels = fit_levels(samples(kind), 3)
    assert len(levels) == 8
    assert list(levels) == sorted(levels)
    assert 0.0 in levels
    assert all(-1 <= level <= 1 for level in levels)


def test_beats_the_uniform_grid_clearly_where_values_crowd() -> None:
    values = samples("heavy tails")
    uniform = torch.arange(-8, 8) / 8
    levels = torch.tensor(fit_levels(values, 4))
    assert squared_error(values, levels) < 0.4 * squared_error(values, uniform)


def test_few_distinct_values_are_met() -> None:
    values = torch.tensor([-1.0, -0.25, 0.0, 0.5]).repeat(50)
    levels = torch.tensor(fit_levels(values, 2))
    assert squared_error(values, levels) <= 200 * HALF_BIN**2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_crowd_away_from_zero_gets_a_level_of_its_own(sign: int) -> None:
    levels = fit_levels(sign * samples("crowd below zero"), 2)
    assert min(abs(level + sign * 0.1) for level in levels) <= 4 * HALF_BIN


def test_it_is_a_fixed_point_of_lloyds_step_on_the_values() -> None:
    values = samples("gaussian", 20000)
    levels = torch.tensor(fit_levels(values, 3))
    nearest = (values.unsqueeze(-1) - levels).abs().argmin(-1)
    for index, level in enumerate(levels.tolist()):
        if level != 0.0:
            assert values[nearest == index].mean().item() == pytest.approx(level, abs=2e-3)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(KINDS), st.integers(1, 4))
def test_deterministic(seed: int, kind: str, bits: int) -> None:
    values = samples(kind, 500, seed)
    assert fit_levels(values, bits) == fit_levels(values.clone().reshape(10, 50), bits)
