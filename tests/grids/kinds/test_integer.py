"""Affine integers: the codes, their span, and the properties that every symmetry must have."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from every_scheme import INTEGERS, gaussian, hard, label, matrices
from tersor.errors import SchemeError
from tersor.grids import IntegerGrid, Symmetry

SIGNED = [grid for grid in INTEGERS if grid.signed]


def fitted(grid: IntegerGrid, rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scale and zero point of each row's own range, float32 ``(rows, 1)``."""
    low, high = rows.aminmax(dim=1, keepdim=True)
    scale = grid.scale_for(low, high)
    scale = scale.where(scale != 0, 1.0)
    return scale, grid.zero_point_for(low, scale)


def half_step(scale: Tensor, values: Tensor) -> Tensor:
    """Half a step and what three float32 roundings can add to it.

    ``w/s``, its product with ``s`` again, and the conversion of the result each err by at most
    2^-24 of a number no larger than |w| + |s|; 2^-148 stands for numbers below the normal range.
    """
    slack = 2.0**-22 * (values.abs() + scale.abs()) + 2.0**-148
    return (scale.abs() / 2 + slack).double()


@pytest.mark.parametrize(
    ("symmetry", "signed", "ends"),
    [
        (Symmetry.NONE, True, (-8, 7)),
        (Symmetry.RESTRICTED, True, (-7, 7)),
        (Symmetry.FULL, True, (-8, 7)),
        (Symmetry.SIGNED_SCALE, True, (-8, 7)),
        (Symmetry.NONE, False, (0, 15)),
        (Symmetry.RESTRICTED, False, (1, 15)),
        (Symmetry.FULL, False, (0, 15)),
    ],
)
def test_codes_in_use(symmetry: Symmetry, signed: bool, ends: tuple[int, int]) -> None:
    grid = IntegerGrid(4, symmetry, signed)
    assert (grid.code_min, grid.code_max) == ends
    codes = grid.encode(torch.tensor([-1e9, 1e9]), torch.tensor(1.0), _zero(grid))
    assert tuple(codes.tolist()) == ends
    assert codes.dtype == grid.code_dtype


@pytest.mark.parametrize("bits", [0, 1, 7, 9, 16])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(SchemeError, match=f"integers of {bits} bits"):
        IntegerGrid(bits)


@pytest.mark.parametrize(
    ("symmetry", "scale"),
    [
        (Symmetry.NONE, 3.0 / 15),
        (Symmetry.RESTRICTED, 2.0 / 7),
        (Symmetry.FULL, 2.0 / 7.5),
        # The value of largest magnitude is positive and has to land on code -8.
        (Symmetry.SIGNED_SCALE, 2.0 / -8),
    ],
)
def test_scale(symmetry: Symmetry, scale: float) -> None:
    found = IntegerGrid(4, symmetry).scale_for(torch.tensor(-1.0), torch.tensor(2.0))
    assert found.item() == pytest.approx(scale, rel=1e-7)


def test_signed_scale_puts_the_extreme_exactly_on_the_lowest_code() -> None:
    grid = IntegerGrid(2, Symmetry.SIGNED_SCALE)
    row = torch.tensor([[-0.25, 0.1, 1.0]])
    scale, _ = fitted(grid, row)
    codes = grid.encode(row, scale, None)
    assert codes.tolist() == [[0, 0, -2]]
    assert grid.decode(codes, scale, None)[0, 2] == 1.0
    low, high = grid.span(scale, None)
    assert (low.item(), high.item()) == (-0.5, 1.0)


def test_a_range_without_zero_is_extended_to_it() -> None:
    grid = IntegerGrid(4, Symmetry.NONE)
    for low, high, scale, zero in [(3.0, 6.0, 0.4, -8), (-6.0, -3.0, 0.4, 7)]:
        found = grid.scale_for(torch.tensor(low), torch.tensor(high))
        assert found.item() == pytest.approx(scale)
        point = grid.zero_point_for(torch.tensor(low), found)
        assert point is not None
        assert point.item() == zero


def test_ties_go_to_the_even_code() -> None:
    values = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    codes = IntegerGrid(4).encode(values, torch.tensor(1.0), None)
    assert codes.tolist() == [-2, -2, 0, 0, 2, 2]


def check(grid: IntegerGrid, rows: Tensor) -> None:
    """What holds of every symmetry and every matrix."""
    scale, zero_point = fitted(grid, rows)
    codes = grid.encode(rows, scale, zero_point)
    restored = grid.decode(codes, scale, zero_point)
    # Inside the span the error is at most half a step; outside, the nearer end stands in.
    low, high = grid.span(scale, zero_point)
    inside = (rows >= low) & (rows <= high)
    error = (rows.double() - restored.double()).abs()
    assert (error <= half_step(scale, rows))[inside].all()
    assert torch.equal(restored[~inside], rows.clamp(low, high)[~inside])
    # Quantizing what was restored changes nothing, and 0 is 0.
    assert torch.equal(grid.encode(restored, scale, zero_point), codes)
    zeros = torch.tensor([[0.0, -0.0]]).expand(len(rows), 2)
    assert not grid.decode(grid.encode(zeros, scale, zero_point), scale, zero_point).any()


@pytest.mark.parametrize("grid", INTEGERS, ids=label)
def test_bound_idempotence_and_zero_on_hard_rows(grid: IntegerGrid) -> None:
    check(grid, hard())


@settings(max_examples=150, deadline=None)
@given(grid=st.sampled_from(INTEGERS), rows=matrices())
def test_bound_idempotence_and_zero(grid: IntegerGrid, rows: Tensor) -> None:
    check(grid, rows)


@pytest.mark.parametrize("grid", INTEGERS, ids=label)
def test_how_much_of_the_range_lies_outside_the_span(grid: IntegerGrid) -> None:
    rows = gaussian(8, 512)
    scale, zero_point = fitted(grid, rows)
    low, high = grid.span(scale, zero_point)
    # Half a step for full symmetric grids and for a rounded zero point, a whole one for a signed
    # scale, nothing (but float32 rounding) for the restricted grid.
    beyond = torch.maximum(low - rows, rows - high).amax(1, keepdim=True) / scale.abs()
    steps = {Symmetry.RESTRICTED: 0.0, Symmetry.SIGNED_SCALE: 1.0}.get(grid.symmetry, 0.5)
    assert (beyond <= steps + 1e-4).all()


@settings(max_examples=50, deadline=None)
@given(signed=st.sampled_from(SIGNED), rows=matrices())
def test_signed_and_unsigned_codes_mean_the_same(signed: IntegerGrid, rows: Tensor) -> None:
    unsigned = IntegerGrid(signed.bits, signed.symmetry, signed=False)
    scale, signed_zero = fitted(signed, rows)
    unsigned_scale, unsigned_zero = fitted(unsigned, rows)
    assert torch.equal(scale, unsigned_scale)
    codes = signed.encode(rows, scale, signed_zero)
    others = unsigned.encode(rows, scale, unsigned_zero)
    assert torch.equal(codes.int() + (1 << (signed.bits - 1)), others.int())
    assert torch.equal(
        signed.decode(codes, scale, signed_zero), unsigned.decode(others, scale, unsigned_zero)
    )
    ours, theirs = signed.span(scale, signed_zero), unsigned.span(scale, unsigned_zero)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("grid", INTEGERS, ids=label)
def test_codes_against_the_formula_value_by_value(grid: IntegerGrid) -> None:
    rows = gaussian(2, 12)
    scale, zero_point = fitted(grid, rows)
    codes = grid.encode(rows, scale, zero_point)
    for r, row in enumerate(rows):
        zero = grid.offset if zero_point is None else int(zero_point[r, 0])
        for c, value in enumerate(row):
            code = int(torch.round(value / scale[r, 0])) + zero
            assert int(codes[r, c]) == min(max(code, grid.code_min), grid.code_max)


def _zero(grid: IntegerGrid) -> Tensor | None:
    return None if grid.symmetric else torch.tensor(grid.offset)
