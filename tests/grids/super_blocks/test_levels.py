"""Scales of two levels: what is stored is an integer times a float16 number."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids import (
    AffineGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    ScaleStorage,
    Symmetry,
    TensorScheme,
    fit,
)

SIGNED3 = IntegerGrid(3, Symmetry.SIGNED_SCALE)
SIGNED6 = IntegerGrid(6, Symmetry.SIGNED_SCALE)
Q2_K = TensorScheme(AffineGrid(2), Granularity.GROUP, 16, ScaleFormat.U4)
Q4_K = TensorScheme(AffineGrid(4), Granularity.GROUP, 32, ScaleFormat.U6)
Q3_K = TensorScheme(SIGNED3, Granularity.GROUP, 16, ScaleFormat.S6)
Q6_K = TensorScheme(SIGNED6, Granularity.GROUP, 16, ScaleFormat.S8)
EVERY = (Q2_K, Q3_K, Q4_K, Q6_K)
STORAGE = ScaleStorage(torch.float32)


def ranges(scheme: TensorScheme, rows: int = 3, blocks: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (rows, blocks * scheme.super_groups)
    return -torch.rand(shape, generator=generator), torch.rand(shape, generator=generator) + 0.1


@pytest.mark.parametrize("scheme", EVERY, ids=str)
def test_scales_are_integers_times_a_half(scheme: TensorScheme) -> None:
    low, high = ranges(scheme)
    found = fit(scheme, low, high, STORAGE)
    above, levels = found.above, scheme.scale_format.levels
    assert above is not None
    assert levels is not None
    for products, unit, sign in (
        (found.scale.data, above.scale, 1),
        *([] if found.zero_point is None else [(found.zero_point, above.minimum, -1)]),
    ):
        assert unit is not None
        assert torch.equal(unit, unit.half().float())
        each = unit.repeat_interleave(scheme.super_groups, 1)
        integers = (sign * products / each).round()
        assert torch.equal(sign * each * integers, products)
        assert levels[0] <= integers.min()
        assert integers.max() <= levels[1]
    # The largest one is one of the ends, so no more is lost than half a step of it.
    wanted = scheme.grid.scale_for(low, high)
    step = above.scale.abs().repeat_interleave(scheme.super_groups, 1)
    assert bool(((found.scale.data - wanted).abs() <= 0.51 * step).all())


@pytest.mark.parametrize("scheme", EVERY, ids=str)
def test_a_known_upper_level_serves_single_groups(scheme: TensorScheme) -> None:
    low, high = ranges(scheme, blocks=1)
    whole = fit(scheme, low, high, STORAGE)
    for group in range(scheme.super_groups):
        one = slice(group, group + 1)
        known = replace(STORAGE, above=whole.above)
        found = fit(scheme, low[:, one], high[:, one], known)
        assert torch.equal(found.scale.data, whole.scale.data[:, one])
        if whole.zero_point is not None:
            assert found.zero_point is not None
            assert torch.equal(found.zero_point, whole.zero_point[:, one])


@pytest.mark.parametrize("scheme", EVERY, ids=str)
def test_empty_ranges_have_a_scale(scheme: TensorScheme) -> None:
    low, high = ranges(scheme)
    low[0], high[0] = 0, 0  # whole super-blocks
    low[1, 1], high[1, 1] = 0, 0  # and one group
    found = fit(scheme, low, high, STORAGE)
    assert bool((found.scale.value() != 0).all())
    zeros = torch.zeros(3, low.shape[1], scheme.group_size or 0)
    minima = None if found.zero_point is None else found.zero_point.unsqueeze(-1)
    scale = found.scale.value().unsqueeze(-1)
    codes = scheme.grid.encode(zeros, scale, minima)
    assert bool((scheme.grid.decode(codes, scale, minima)[0] == 0).all())


def test_part_of_a_super_block_is_refused() -> None:
    low, high = ranges(Q4_K)
    with pytest.raises(SchemeError, match=r"15 groups of 32 columns are no super-blocks of 256"):
        fit(Q4_K, low[:, 1:], high[:, 1:], STORAGE)
    assert Q4_K.misfit(512) is None
    assert "300 input columns are no multiple of 256" in str(Q4_K.misfit(300))


def test_too_large_for_float16_is_refused() -> None:
    low, high = ranges(Q4_K)
    with pytest.raises(SchemeError, match="does not fit float16"):
        fit(Q4_K, low * 1e8, high * 1e8, STORAGE)


@pytest.mark.parametrize(
    ("grid", "size", "scale", "message"),
    [
        (AffineGrid(4), 48, ScaleFormat.U6, "groups that divide 256"),
        (AffineGrid(4), 32, ScaleFormat.S6, "scale s6 needs grid int"),
        (SIGNED3, 16, ScaleFormat.U4, "scale u4 needs grid affine"),
        (IntegerGrid(3, Symmetry.NONE), 16, ScaleFormat.S6, "without zero points"),
    ],
)
def test_schemes_that_mean_nothing(
    grid: AffineGrid, size: int, scale: ScaleFormat, message: str
) -> None:
    with pytest.raises(SchemeError, match=message):
        TensorScheme(grid, Granularity.GROUP, size, scale)
