"""8-bit floats: torch's own conversion is the definition; the scale and the ends are ours."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from every_scheme import FLOATS, hard, label, matrices
from tersor.errors import SchemeError
from tersor.grids import FloatGrid

MANTISSA_BITS = {"fp8_e4m3": 3, "fp8_e5m2": 2}
SMALLEST = {"fp8_e4m3": 2.0**-9, "fp8_e5m2": 2.0**-16}


def fitted(grid: FloatGrid, rows: Tensor) -> Tensor:
    low, high = rows.aminmax(dim=1, keepdim=True)
    scale = grid.scale_for(low, high)
    return scale.where(scale != 0, 1.0)


def test_largest_values() -> None:
    assert [grid.largest for grid in FLOATS] == [448.0, 57344.0]


def test_other_names_are_refused() -> None:
    with pytest.raises(SchemeError, match="fp8_e4m3, fp8_e5m2"):
        FloatGrid("fp8_e3m4")


@pytest.mark.parametrize("grid", FLOATS, ids=label)
def test_beyond_the_largest_value_it_saturates(grid: FloatGrid) -> None:
    values = torch.tensor([1e9, -1e9, torch.inf, -torch.inf])
    restored = grid.decode(grid.encode(values, torch.tensor(1.0), None), torch.tensor(1.0), None)
    assert restored.tolist() == [grid.largest, -grid.largest] * 2


def check(grid: FloatGrid, rows: Tensor) -> None:
    """What holds of both formats and every matrix."""
    scale = fitted(grid, rows)
    codes = grid.encode(rows, scale, None)
    restored = grid.decode(codes, scale, None)
    # Half a unit in the last place; where the format is subnormal, half its constant step.
    half_ulp = 2.0 ** -(MANTISSA_BITS[grid.name] + 1)
    half_step = SMALLEST[grid.name] * scale.double() / 2
    allowed = torch.maximum(rows.abs().double() * half_ulp, half_step) * (1 + 2.0**-20)
    assert ((rows.double() - restored.double()).abs() <= allowed + 2.0**-148).all()
    # Quantizing what was restored changes nothing, and 0 is 0.
    again = grid.encode(restored, scale, None)
    assert torch.equal(codes.view(torch.uint8), again.view(torch.uint8))
    zeros = torch.tensor([[0.0, -0.0]]).expand(len(rows), 2)
    assert not grid.decode(grid.encode(zeros, scale, None), scale, None).any()


@pytest.mark.parametrize("grid", FLOATS, ids=label)
def test_bound_idempotence_and_zero_on_hard_rows(grid: FloatGrid) -> None:
    check(grid, hard())


@settings(max_examples=40, deadline=None)
@given(grid=st.sampled_from(FLOATS), rows=matrices())
def test_bound_idempotence_and_zero(grid: FloatGrid, rows: Tensor) -> None:
    check(grid, rows)


@pytest.mark.parametrize("grid", FLOATS, ids=label)
def test_every_finite_code_is_reached_by_its_own_value(grid: FloatGrid) -> None:
    codes = torch.arange(256).to(torch.uint8).view(grid.code_dtype)
    codes = codes[codes.float().isfinite()]
    again = grid.encode(codes.float(), torch.tensor(1.0), None)
    assert torch.equal(again.view(torch.uint8), codes.view(torch.uint8))


@pytest.mark.parametrize("grid", FLOATS, ids=label)
def test_the_span_is_what_the_extreme_codes_mean(grid: FloatGrid) -> None:
    low, high = grid.span(torch.tensor(0.5), None)
    assert (low.item(), high.item()) == (-grid.largest / 2, grid.largest / 2)
