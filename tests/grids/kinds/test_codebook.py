"""Codebooks: the published levels, nearest with ties, and what every grid must do."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from every_scheme import CODEBOOKS, hard, label, matrices
from tersor.errors import SchemeError
from tersor.grids import CodebookGrid, fp4, kmeans, log2, nf4

FITTED = kmeans(3).with_levels((-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6, 0.8))
ALL = [*CODEBOOKS, FITTED]


def fitted(grid: CodebookGrid, rows: Tensor) -> Tensor:
    low, high = rows.aminmax(dim=1, keepdim=True)
    scale = grid.scale_for(low, high)
    return scale.where(scale != 0, 1.0)


def test_nf4_levels_are_the_quantiles_of_appendix_e() -> None:
    # QLoRA, appendix E: the mean quantiles of N(0, 1) in 8 positive and 7 negative cells around an
    # exact 0, divided by the largest. The offset is bitsandbytes' 0.9677083.
    normal = torch.distributions.Normal(0.0, 1.0)
    offset = 0.9677083
    above = normal.icdf(torch.linspace(offset, 0.5, 9)[:-1])
    below = -normal.icdf(torch.linspace(offset, 0.5, 8)[:-1])
    levels = torch.cat([above, below, torch.zeros(1)]).sort().values
    levels /= levels.max()
    assert torch.allclose(torch.tensor(nf4().levels), levels, atol=2e-6)


def test_fp4_codes_are_the_bits_of_e2m1() -> None:
    for code, level in enumerate(fp4().levels):
        sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
        magnitude = mantissa * 0.5 if exponent == 0 else 2.0 ** (exponent - 1) * (1 + mantissa / 2)
        assert level == (-magnitude if sign else magnitude)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_log2_levels(bits: int) -> None:
    powers = [2.0**-k for k in range(2 ** (bits - 1) - 1)]
    assert sorted(log2(bits).levels) == sorted([0.0, *powers, *(-p for p in powers)])


@pytest.mark.parametrize("bits", [1, 7, 8])
def test_other_widths_of_log2_are_refused(bits: int) -> None:
    with pytest.raises(SchemeError, match="use 2 to 6"):
        log2(bits)


def test_a_codebook_needs_a_zero_and_room_for_its_levels() -> None:
    with pytest.raises(SchemeError, match="no level for 0"):
        CodebookGrid("mine", 1, (-1.0, 1.0))
    with pytest.raises(SchemeError, match="3 levels, 1 bits"):
        CodebookGrid("mine", 1, (-1.0, 0.0, 1.0))
    with pytest.raises(SchemeError, match="9 bits"):
        CodebookGrid("mine", 9)


def check(grid: CodebookGrid, rows: Tensor) -> None:
    """What holds of every codebook and every matrix."""
    scale = fitted(grid, rows)
    codes = grid.encode(rows, scale, None)
    restored = grid.decode(codes, scale, None)
    # No level is nearer. A quotient of float32 numbers is off by 2^-24 of itself, and so are the
    # middle it is compared with and the product that comes back.
    levels = torch.tensor(grid.levels).double() * scale.double().unsqueeze(-1)
    nearest = (rows.double().unsqueeze(-1) - levels).abs().min(-1).values
    slack = 2.0**-22 * rows.abs().double() + 2.0**-140
    assert ((rows.double() - restored.double()).abs() <= nearest + slack).all()
    # Quantizing what was restored changes nothing, and 0 is 0.
    assert torch.equal(grid.encode(restored, scale, None), codes)
    zeros = torch.tensor([[0.0, -0.0]]).expand(len(rows), 2)
    assert not grid.decode(grid.encode(zeros, scale, None), scale, None).any()


@pytest.mark.parametrize("grid", ALL, ids=label)
def test_nearest_idempotence_and_zero_on_hard_rows(grid: CodebookGrid) -> None:
    check(grid, hard())


@settings(max_examples=80, deadline=None)
@given(grid=st.sampled_from(ALL), rows=matrices())
def test_nearest_idempotence_and_zero(grid: CodebookGrid, rows: Tensor) -> None:
    check(grid, rows)


@pytest.mark.parametrize("grid", CODEBOOKS, ids=label)
def test_ties_go_an_even_number_of_steps_from_zero(grid: CodebookGrid) -> None:
    levels = sorted(set(grid.levels))
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    codes = grid.encode(torch.tensor(middles), torch.tensor(1.0), None)
    for code, (below, above) in zip(codes.tolist(), pairwise(levels), strict=True):
        even = below if (levels.index(below) - levels.index(0.0)) % 2 == 0 else above
        assert grid.levels[code] == even


def test_the_largest_magnitude_lands_on_the_outermost_level() -> None:
    for grid in CODEBOOKS:
        for low, high in [(-3.0, 1.0), (-1.0, 3.0), (1.0, 3.0), (-3.0, -1.0)]:
            scale = grid.scale_for(torch.tensor(low), torch.tensor(high))
            lowest, highest = grid.span(scale, None)
            assert torch.isclose(highest, torch.tensor(3.0), rtol=1e-6)
            assert lowest == -highest


def test_fitted_levels_are_in_units_of_the_largest_magnitude() -> None:
    assert FITTED.scale_for(torch.tensor(-2.0), torch.tensor(1.0)) == 2.0
    low, high = FITTED.span(torch.tensor(2.0), None)
    assert (low.item(), high.item()) == pytest.approx((-1.8, 1.6))


def test_one_sided_levels_do_not_inflate_the_scale() -> None:
    # A rare negative value among positive ones: no level below 0 was worth it.
    grid = kmeans(2).with_levels((0.0, 0.3, 0.6, 0.9))
    assert grid.scale_for(torch.tensor(-0.01), torch.tensor(1.0)) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-8 * 64, 8 * 64), min_size=1, max_size=40))
def test_fp4_rounds_as_compressed_tensors_does(sixty_fourths: list[int]) -> None:
    from compressed_tensors.quantization.utils.fp4_utils import cast_to_fp4

    values = torch.tensor(sixty_fourths) / 64  # the middles 0.25, 0.75, … are among them
    ours = fp4().decode(fp4().encode(values, torch.tensor(1.0), None), torch.tensor(1.0), None)
    assert torch.equal(ours, cast_to_fp4(values.clone()))


def test_duplicate_levels_use_the_smallest_code() -> None:
    grid = kmeans(2).with_levels((0.0, 0.0, 0.5, 0.5))
    codes = grid.encode(torch.tensor([0.1, 0.4]), torch.tensor(1.0), None)
    assert codes.tolist() == [0, 2]
