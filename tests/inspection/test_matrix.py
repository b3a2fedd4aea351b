"""What is told of one matrix, against plain versions in float64."""

import json
import math
from collections import Counter

import pytest
import torch

from every_scheme import SAMPLE, gaussian, label
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme, error_parts
from tersor.inspection.codes import code_use
from tersor.inspection.columns import column_outliers, outliers
from tersor.inspection.distribution import BINS, distribution
from tersor.inspection.losses import losses
from tersor.inspection.matrix import codes_view, matrix_view
from tersor.ranges import MinMax
from tersor.rounding import nearest

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 7), (60, 157), (5000, 67)])
def test_moments_and_histogram(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = gaussian(*shape).to(dtype)
    found, values = distribution(weight), weight.double()
    assert found.mean == pytest.approx(values.mean().item(), rel=1e-6, abs=1e-9)
    centred = values - values.mean()
    variance = centred.square().mean()
    assert found.deviation == pytest.approx(variance.sqrt().item(), rel=1e-6)
    assert found.kurtosis == pytest.approx(
        (centred.pow(4).mean() / variance**2 - 3).item(), rel=1e-4, abs=1e-4
    )
    largest = values.abs().max().item()
    assert found.largest == pytest.approx(largest)
    assert found.reach == pytest.approx(largest / found.deviation)
    assert sum(found.histogram) == weight.numel()
    places = ((values + largest) / (2 * largest) * BINS).floor().clamp(max=BINS - 1).long()
    expected = torch.bincount(places.flatten(), minlength=BINS)
    # Values on an edge may fall to either side.
    assert (torch.tensor(found.histogram) - expected).abs().sum() <= 0.01 * weight.numel() + 2


@pytest.mark.parametrize("value", [0.0, 0.3, -2.0])
def test_matrices_of_one_value(value: float) -> None:
    found = matrix_view("m", 0, "r", torch.full((4, 70), value))
    assert (found.spread.deviation, found.spread.kurtosis) == pytest.approx((0, 0), abs=1e-6)
    assert sum(found.spread.histogram) == 280
    assert found.columns.count == 0
    assert json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_fourth_powers_that_float32_does_not_hold(size: float) -> None:
    weight = gaussian(20, 70)
    found, usual = distribution(weight * size), distribution(weight)
    assert found.kurtosis == pytest.approx(usual.kurtosis, rel=1e-4)
    assert found.reach == pytest.approx(usual.reach, rel=1e-5)


def test_a_bell_curve_has_no_excess() -> None:
    weight = torch.randn(500, 400, generator=torch.Generator().manual_seed(0))
    assert abs(distribution(weight).kurtosis) < 0.05


def test_columns() -> None:
    weight = torch.ones(6, 9)
    weight[2, 4] = -8.0
    weight[5, 7] = 3.9
    found = column_outliers(weight)
    assert (found.median, found.largest, found.ratio, found.count) == (1.0, 8.0, 8.0, 1)
    assert found.top[:2] == ((4, 8.0), (7, pytest.approx(3.9)))
    assert found.columns == 9
    assert found.sorted_.tolist() == sorted(weight.abs().amax(0).tolist(), reverse=True)


def test_channels_that_are_never_used() -> None:
    found = outliers(torch.tensor([0.0, 0.0, 0.0, 2.0]))
    assert (found.ratio, found.count) == (0.0, 1)


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses(dtype: torch.dtype, asymmetric: bool) -> None:
    weight = gaussian(17, 100).to(dtype)
    found = losses(weight, asymmetric=asymmetric)
    names = [(one.bits, one.granularity) for one in found]
    kinds = ("tensor", "channel", "g64", "g32")  # 128 columns are more than there are
    assert names == [(bits, kind) for bits in (8, 4, 3, 2) for kind in kinds]
    symmetry = Symmetry.NONE if asymmetric else Symmetry.FULL
    for one in found:
        size = int(one.granularity[1:]) if one.granularity[1:].isdecimal() else None
        granularity = Granularity.GROUP if size else Granularity(one.granularity)
        scheme = TensorScheme(IntegerGrid(one.bits, symmetry), granularity, size)
        rounded = nearest(weight, scheme, MinMax(), scale_dtype=dtype)
        error = weight.double() - rounded.tensor.dequantize().double()
        assert one.parts.mse == pytest.approx(error.square().mean().item(), rel=1e-5)
        assert one.parts.clipping == 0
        if asymmetric and one.bits == 3:
            assert one.parts.zero_point > 0


def test_groups_as_wide_as_a_row_are_its_channel() -> None:
    view = matrix_view("m", 3, "r", gaussian(4, 32))
    assert view.loss(4, "g32") is None
    assert view.sqnr(4, "g32") == view.sqnr(4, "channel")


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_codes(scheme: TensorScheme) -> None:
    weight = gaussian(9, 130)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor
    found = code_use(tensor)
    scale = tensor.scale.value()
    size = scheme.group_size or 130
    by_group = scale.repeat_interleave(size, 1)[:, :130].expand(9, 130)
    zero = torch.tensor(0)
    if tensor.zero_point is not None:
        zero = tensor.zero_point.float().repeat_interleave(size, 1)[:, :130] * by_group
    levels = ((tensor.dequantize() + zero) / by_group * 1e3).round().flatten().tolist()
    counted = Counter(levels)
    assert found.used == len(counted)
    shares = [count / weight.numel() for count in counted.values()]
    assert found.entropy == pytest.approx(-sum(s * math.log2(s) for s in shares))
    assert sorted(c for c in found.counts if c) == sorted(counted.values())
    assert sum(found.counts) == weight.numel()
    assert found.scales == scale.numel()
    assert found.highest_scale == pytest.approx(float(scale.abs().max()))
    assert found.used <= found.possible <= 1 << found.bits


def test_a_quantized_matrix_beside_its_original() -> None:
    weight = gaussian(9, 130)
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 64)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor
    found = codes_view("m", "r", tensor, weight)
    assert found.sqnr_db == error_parts(weight, tensor).sqnr_db
    assert codes_view("m", "r", tensor, None).sqnr_db is None
    assert codes_view("m", "r", tensor, tensor.dequantize()).sqnr_db is None
    assert json.dumps(found.to_dict(), allow_nan=False)
