"""What grids say of themselves is what their codes are."""

import pytest
import torch

from every_scheme import CODEBOOKS, FIXED_GRIDS, FLOATS, INTEGERS, label
from tersor.errors import SchemeError
from tersor.grids import (
    CodebookGrid,
    FloatGrid,
    Grid,
    IntegerGrid,
    Symmetry,
    fp4,
    kmeans,
    log2,
    nf4,
)

SCALE = torch.tensor([0.5])


@pytest.mark.parametrize("grid", INTEGERS, ids=label)
def test_integers_are_the_codes_in_use(grid: IntegerGrid) -> None:
    codes = grid.integers
    ends = torch.tensor([-1e6, 1e6])
    zero = None if grid.symmetric else torch.tensor([codes.zero]).to(grid.code_dtype)
    assert grid.encode(ends, SCALE, zero).tolist() == [codes.lowest, codes.highest]
    assert grid.decode(torch.tensor([codes.zero]), SCALE, zero).item() == 0
    lopsided = grid.scale_for(torch.tensor([-1.0]), torch.tensor([2.0]))
    assert codes.signed_scale == bool(lopsided < 0)


@pytest.mark.parametrize("grid", [*CODEBOOKS, *FLOATS], ids=label)
def test_levels_are_what_the_bytes_stand_for(grid: Grid) -> None:
    codes = torch.arange(len(grid.levels)).to(torch.uint8).view(grid.code_dtype)
    expected = torch.tensor(grid.levels) * SCALE
    assert torch.equal(grid.decode(codes, SCALE, None).nan_to_num(7), expected.nan_to_num(7))


@pytest.mark.parametrize("grid", [*FIXED_GRIDS, kmeans(3)], ids=label)
def test_a_grid_is_integers_or_has_levels(grid: Grid) -> None:
    assert (grid.integers is None) == bool(grid.levels or grid.fitted)


@pytest.mark.parametrize("grid", FIXED_GRIDS, ids=label)
def test_a_zero_point_is_there_unless_symmetric(grid: Grid) -> None:
    zero_point = grid.zero_point_for(torch.tensor([-1.0]), SCALE)
    assert (zero_point is None) == grid.symmetric


def test_levels_of_a_tensor() -> None:
    levels = (-1.0, 0.0, 0.25, 1.0)
    assert kmeans(2).with_levels(levels) == CodebookGrid("kmeans", 2, levels)
    for grid in (nf4(), FloatGrid("fp8_e4m3"), IntegerGrid(4)):
        assert not grid.fitted
        with pytest.raises(SchemeError, match=f"{grid.name} has levels of its own"):
            grid.with_levels(levels)


def test_other_widths() -> None:
    assert IntegerGrid(8, Symmetry.FULL, signed=False).with_bits(3) == IntegerGrid(
        3, Symmetry.FULL, signed=False
    )
    assert log2(4).with_bits(3) == log2(3)
    assert kmeans(4).with_bits(2) == kmeans(2)
    assert fp4().with_bits(4) == fp4()
    with pytest.raises(SchemeError, match="fp4 always has 4 bits"):
        fp4().with_bits(3)


def test_zero_points_where_there_can_be_some() -> None:
    assert IntegerGrid(3).asymmetric() == IntegerGrid(3, Symmetry.NONE)
    with pytest.raises(SchemeError, match="nf4 has no zero points"):
        nf4().asymmetric()
