"""Every step against the grids, for every grid."""

import numpy as np
import pytest
import torch

from every_scheme import FIXED_GRIDS, label
from tersor.explaining.steps import code_numbers, shortest, steps
from tersor.grids import Grid, fp4, value_parts


def sample(grid: Grid) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Values inside and outside the grid, ties among them; scale and zero point."""
    generator = torch.Generator().manual_seed(3)
    scale = torch.tensor(-0.25 if grid.name == "int5" else 0.25)
    if grid.integers is None or not grid.integers.signed_scale:
        scale = scale.abs()
    zero = grid.zero_point_for(torch.tensor(-1.1), scale)
    values = torch.cat([torch.randn(40, generator=generator) * 3, torch.arange(-9, 9) * 0.125])
    return values, scale, zero


@pytest.mark.parametrize("grid", FIXED_GRIDS, ids=label)
def test_against_the_grid(grid: Grid) -> None:
    values, scale, zero = sample(grid)
    found = steps(grid, values, scale, zero)
    codes = grid.encode(values, scale, zero)
    restored = grid.decode(codes, scale, zero)
    span = grid.span(scale, zero)
    assert [one.code for one in found] == code_numbers(codes)

    def column(name: str) -> torch.Tensor:
        return torch.tensor([getattr(one, name) for one in found])

    assert torch.equal(column("value"), values)
    assert torch.equal(column("scaled"), values / scale)
    assert torch.equal(column("restored"), restored)
    assert torch.equal(column("error"), values - restored)
    parts = value_parts(values, restored, span, span)
    for name, part in zip(("rounding", "clipping", "zero_point"), parts, strict=True):
        assert torch.equal(column(name), part), name
    assert column("zero_point").abs().max() == 0
    outside = (values < span[0]) | (values > span[1])
    assert torch.equal(column("clipping") != 0, outside)


@pytest.mark.parametrize("grid", [g for g in FIXED_GRIDS if g.integers is not None], ids=label)
def test_the_steps_of_integers_lead_to_the_code(grid: Grid) -> None:
    values, scale, zero = sample(grid)
    integers = grid.integers
    assert integers is not None
    for one in steps(grid, values, scale, zero):
        assert one.shifted is not None
        assert one.code == min(max(one.shifted, integers.lowest), integers.highest)
        assert one.clipped == (one.code != one.shifted)
        assert one.tie == (abs(one.scaled) % 1 == 0.5)
        if one.tie:
            assert one.rounded % 2 == 0


@pytest.mark.parametrize("grid", [g for g in FIXED_GRIDS if g.integers is None], ids=label)
def test_levels_are_the_nearest(grid: Grid) -> None:
    values, scale, _ = sample(grid)
    levels = [level for level in grid.levels if abs(level) < float("inf")]
    for one in steps(grid, values, scale, None):
        assert one.shifted is None
        assert abs(one.rounded - one.scaled) == min(abs(level - one.scaled) for level in levels)


def test_ties_of_levels() -> None:
    found = steps(fp4(), torch.tensor([0.25, 0.3, 2.5, -5.0]), torch.tensor(1.0), None)
    assert [one.tie for one in found] == [True, False, True, True]
    assert [one.rounded for one in found] == [0.0, 0.5, 2.0, -4.0]


def test_shortest_names_the_same_number() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 1e-3
    found = shortest(values)
    assert torch.equal(torch.tensor(found), values)
    assert shortest(torch.tensor([0.007, -0.0])) == [0.007, 0.0]
    assert np.signbit(shortest(torch.tensor([-0.0]))[0]) == np.False_
