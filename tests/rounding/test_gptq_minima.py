"""GPTQ onto grids with minima, and onto scales of two levels."""

from typing import get_args

import pytest
import torch

from every_scheme import gaussian
from hessians import correlated, output_error
from tersor.errors import SchemeError
from tersor.grids import (
    AffineGrid,
    Granularity,
    Grid,
    IntegerGrid,
    ScaleFormat,
    Symmetry,
    TensorScheme,
)
from tersor.ranges import LeastSquares, MinMax, Observation
from tersor.rounding import Gptq, Order, gptq, hessian_factor, nearest
from tersor.rounding.gptq_reference import gptq_reference

ORDERS: tuple[Order, ...] = get_args(Order)


def blocks(grid: Grid, size: int, scale: ScaleFormat) -> TensorScheme:
    return TensorScheme(grid, Granularity.GROUP, size, scale)


INT4 = IntegerGrid(4, Symmetry.SIGNED_SCALE)
TWO_LEVELS = [
    blocks(AffineGrid(2), 16, ScaleFormat.U4),
    blocks(AffineGrid(4), 32, ScaleFormat.U6),
    blocks(AffineGrid(5), 128, ScaleFormat.U6),
    blocks(IntegerGrid(3, Symmetry.SIGNED_SCALE), 16, ScaleFormat.S6),
    blocks(IntegerGrid(6, Symmetry.SIGNED_SCALE), 16, ScaleFormat.S8),
]
ONE_LEVEL = [
    blocks(AffineGrid(4), 32, ScaleFormat.FLOAT16),
    blocks(AffineGrid(3), 48, ScaleFormat.FLOAT),
    blocks(INT4, 32, ScaleFormat.FLOAT16),
    TensorScheme(AffineGrid(4), Granularity.CHANNEL),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scheme", [*TWO_LEVELS, *ONE_LEVEL], ids=str)
def test_against_the_textbook(scheme: TensorScheme, order: Order) -> None:
    columns = 512 if scheme.super_groups > 1 else 80
    weight, hessian = gaussian(5, columns, seed=3), correlated(columns)
    settings = Gptq(order=order, block=24)
    rounded = gptq(
        weight, scheme, MinMax(), hessian, scale_dtype=torch.float32, settings=settings
    ).tensor
    codes, restored = gptq_reference(
        weight, scheme, MinMax(), hessian, scale_dtype=torch.float32, settings=settings
    )
    # What is close to the middle of two codes may fall to either side in float32.
    assert (rounded.codes != codes).float().mean() < 0.01
    wrong = output_error(rounded.dequantize() - weight, hessian)
    assert wrong == pytest.approx(output_error(restored - weight, hessian), rel=0.03)


@pytest.mark.parametrize("scheme", [*TWO_LEVELS, ONE_LEVEL[0], ONE_LEVEL[2]], ids=str)
def test_each_part_makes_the_output_better(scheme: TensorScheme) -> None:
    """Ranges weighted by importance first, error feedback on top."""
    weight, hessian = gaussian(40, 512), correlated(512)
    importance = hessian.diagonal()
    found = {}
    for name, range_ in (("minmax", MinMax()), ("fitted", LeastSquares())):
        start = nearest(
            weight, scheme, range_, scale_dtype=torch.float16, importance=importance
        ).tensor
        better = gptq(weight, scheme, range_, hessian, scale_dtype=torch.float16).tensor
        found[name] = output_error(start.dequantize() - weight, hessian)
        found[f"{name} gptq"] = output_error(better.dequantize() - weight, hessian)
    assert found["fitted"] < found["minmax"]
    assert found["fitted gptq"] < 0.9 * found["fitted"]
    assert found["fitted gptq"] < found["minmax gptq"]


@pytest.mark.parametrize("scheme", TWO_LEVELS, ids=str)
def test_neither_blocks_nor_other_rows_change_a_bit(scheme: TensorScheme) -> None:
    weight, hessian = gaussian(70, 256), correlated(256)
    alone = gptq(weight, scheme, LeastSquares(), hessian, scale_dtype=torch.float16).tensor
    for part, settings in ((slice(None), Gptq(block=7)), (slice(60, 67), Gptq())):
        found = gptq(
            weight[part],
            scheme,
            LeastSquares(),
            hessian,
            scale_dtype=torch.float16,
            settings=settings,
        ).tensor
        assert torch.equal(found.codes, alone.codes[part])
        assert torch.equal(found.scale.data, alone.scale.data[part])


@pytest.mark.parametrize("scheme", TWO_LEVELS, ids=str)
def test_a_useless_hessian_means_nearest(scheme: TensorScheme) -> None:
    weight = gaussian(3, 256)
    found = gptq(weight, scheme, LeastSquares(), torch.zeros(256, 256), scale_dtype=torch.float16)
    expected = nearest(weight, scheme, LeastSquares(), scale_dtype=torch.float16).tensor
    assert torch.equal(found.tensor.codes, expected.codes)
    assert "rounded to nearest" in found.note


def test_super_blocks_are_kept_together() -> None:
    hessian = correlated(1024)
    factor = hessian_factor(hessian, 0.01, "group", 16, 16)
    for start in range(0, 1024, 256):
        assert len({int(c) // 256 for c in factor.permutation[start : start + 256]}) == 1
    for start in range(0, 1024, 16):
        assert len({int(c) // 16 for c in factor.permutation[start : start + 16]}) == 1
    wrong = hessian_factor(hessian, 0.01, "group", 16)
    with pytest.raises(SchemeError, match="in super-blocks of 16"):
        gptq(gaussian(3, 1024), TWO_LEVELS[0], MinMax(), wrong, scale_dtype=torch.float16)


def test_one_stage_may_have_several_schemes() -> None:
    hessian, weight = correlated(256), gaussian(3, 256)
    rounder = Gptq().bind(Observation(hessian=hessian), TWO_LEVELS)
    for scheme in TWO_LEVELS:
        found = rounder.round(weight, scheme, LeastSquares(), torch.float16)
        alone = gptq(weight, scheme, LeastSquares(), hessian, scale_dtype=torch.float16)
        assert torch.equal(found.tensor.codes, alone.tensor.codes)
