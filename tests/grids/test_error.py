"""The error in its parts: against a plain version, and cases where the parts are known."""

import math

import pytest
import torch
from torch import Tensor

from every_scheme import SAMPLE, gaussian, hard, label
from tersor import _native
from tersor.grids import (
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    StoredScale,
    Symmetry,
    TensorScheme,
    error_parts,
)
from tersor.grids.error import error_sums_reference
from tersor.ranges import Bounds, MeanSquaredError, MinMax
from tersor.rounding import nearest

# Products and short sums are float32.
RELATIVE = 1e-5


def naive(weight: Tensor, tensor: QuantizedTensor, bounds: Bounds | None) -> dict[str, float]:
    """The definition in float64, group by group."""
    restored, scale = tensor.dequantize().double(), tensor.scale.value()
    rows, columns = weight.shape
    size = tensor.scheme.group_size or columns
    sums = {"rounding": 0.0, "clipping": 0.0, "zero_point": 0.0, "signal": 0.0, "largest": 0.0}
    for r in range(rows):
        row = 0 if tensor.scheme.granularity is Granularity.TENSOR else r
        for group, start in enumerate(range(0, columns, size)):
            original = weight[r, start : start + size].double()
            zero = None if tensor.zero_point is None else tensor.zero_point[row, group]
            span = [end.double() for end in tensor.grid.span(scale[row, group], zero)]
            ends = span
            if bounds is not None:
                low, high = (bound[row, group].double() for bound in bounds)
                ends = [low.clamp(max=0), high.clamp(min=0)]
            in_range = original.clamp(*ends)
            in_grid = in_range.clamp(*span)
            error = original - restored[r, start : start + size]
            sums["rounding"] += float((error * (error - original + in_grid)).sum())
            sums["clipping"] += float((error * (original - in_range)).sum())
            sums["zero_point"] += float((error * (in_range - in_grid)).sum())
            sums["signal"] += float(original.square().sum())
            sums["largest"] = max(sums["largest"], float(error.abs().max()))
    largest = sums.pop("largest")
    return {name: total / weight.numel() for name, total in sums.items()} | {"largest": largest}


@pytest.mark.parametrize("given_bounds", [True, False])
@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_against_the_definition(scheme: TensorScheme, given_bounds: bool) -> None:
    weight = gaussian(4, 80)
    rounded = nearest(weight, scheme, MeanSquaredError(steps=4), scale_dtype=torch.bfloat16)
    bounds = rounded.bounds if given_bounds else None
    parts, expected = (
        error_parts(weight, rounded.tensor, bounds),
        naive(weight, rounded.tensor, bounds),
    )
    mse = parts.mse
    for name, value in expected.items():
        tolerance = RELATIVE * (value if name in ("signal", "largest") else mse)
        assert getattr(parts, name) == pytest.approx(value, rel=0, abs=tolerance), name


# Sizes around the native loop's 16 lanes and its runs of 1024 values; enough rows for threads.
@pytest.mark.parametrize("size", [1, 15, 16, 33, 1024, 1030])
@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (3, 4), (300, 2)])
def test_the_native_loop_against_its_reference(rows: int, groups: int, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    original, noise = torch.randn(2, rows, groups * size, generator=generator)
    decoded = original + 0.1 * noise
    ends = torch.rand(2, rows, groups, generator=generator)
    low, high, grid_low, grid_high = -ends[0] - 0.5, ends[1] + 0.5, -ends[1] - 0.4, ends[0] + 0.6
    found = torch.empty(rows, 5, dtype=torch.float64)
    _native.error_sums(
        original.numpy(),
        decoded.numpy(),
        low.numpy(),
        high.numpy(),
        grid_low.numpy(),
        grid_high.numpy(),
        found.numpy(),
    )
    blocks = original.view(rows, groups, size), decoded.view(rows, groups, size)
    expected = error_sums_reference(
        *blocks,
        (low.unsqueeze(-1), high.unsqueeze(-1)),
        (grid_low.unsqueeze(-1), grid_high.unsqueeze(-1)),
    )
    # Parts of either sign cancel: what counts is their size against the squared error.
    scale = expected[:, :3].sum(1, keepdim=True).abs() + expected[:, 3:4]
    assert ((found - expected).abs() <= 1e-5 * scale).all()
    assert torch.equal(found[:, 4], expected[:, 4])


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_the_parts_add_up_to_the_mean_squared_error(scheme: TensorScheme) -> None:
    weight = gaussian(6, 200)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float16)
    parts = error_parts(weight, rounded.tensor, rounded.bounds)
    error = weight.double() - rounded.tensor.dequantize().double()
    assert parts.mse == pytest.approx(error.square().mean().item(), rel=RELATIVE)
    assert parts.largest == pytest.approx(error.abs().max().item(), rel=1e-7)
    ratio = weight.double().square().mean() / error.square().mean()
    assert parts.sqnr_db == pytest.approx(10 * math.log10(ratio), abs=1e-3)


def test_min_max_on_a_restricted_grid_with_exact_scales_only_rounds() -> None:
    # The largest magnitude of each row is 127 times a power of two: so the scale is exact.
    weight = torch.rand(4, 100, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    weight[:, 0] = 127 / 128
    weight *= torch.tensor([[1.0], [0.5], [64.0], [2.0**-20]])
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)
    parts = error_parts(weight, rounded.tensor, rounded.bounds)
    assert parts.clipping == 0
    assert parts.zero_point == 0
    assert parts.rounding > 0


def test_a_shrunk_range_clips() -> None:
    weight = gaussian(4, 256)
    scheme = TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.CHANNEL)
    wide = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    best = nearest(weight, scheme, MeanSquaredError(), scale_dtype=torch.float32)
    assert error_parts(weight, wide.tensor, wide.bounds).clipping == 0
    assert error_parts(weight, best.tensor, best.bounds).clipping > 0


def test_a_range_without_zero_counts_as_extended_to_it() -> None:
    weight = torch.tensor([[3.0, 4.5, 6.0]])
    scheme = TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.CHANNEL)
    tensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    # The grid was fitted to [0, 6] then: 3 is inside and not clipped to 4.
    parts = error_parts(weight, tensor, (torch.tensor([[4.0]]), torch.tensor([[6.0]])))
    assert parts.clipping == 0
    assert parts.rounding == pytest.approx((0.2**2 + 0.1**2) / 3, rel=1e-4)


def test_sqnr_of_eight_bits_on_gaussian_weights_is_as_theory_says() -> None:
    # Uniform rounding errors in a step s have the variance s²/12; with s = amax/127 the signal to
    # noise ratio is 12·127²·σ²/amax².
    weight = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    scheme = TensorScheme(IntegerGrid(8), Granularity.TENSOR)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32)
    amax, variance = weight.abs().max().item(), weight.square().mean().item()
    theory = 10 * math.log10(12 * 127**2 * variance / amax**2)
    parts = error_parts(weight, rounded.tensor, rounded.bounds)
    assert parts.sqnr_db == pytest.approx(theory, abs=0.05)
    assert 38 < parts.sqnr_db < 42


def test_a_lossless_tensor_has_infinite_sqnr_and_zeros_none() -> None:
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    exact = torch.arange(-127.0, 128.0).unsqueeze(0)
    rounded = nearest(exact, scheme, MinMax(), scale_dtype=torch.float32)
    parts = error_parts(exact, rounded.tensor, rounded.bounds)
    assert (parts.mse, parts.largest, parts.sqnr_db) == (0, 0, math.inf)
    ones = QuantizedTensor(
        torch.ones(1, 4, dtype=torch.int8),
        StoredScale(torch.ones(1, 1), ScaleFormat.FLOAT),
        None,
        scheme,
    )
    nothing = error_parts(torch.zeros(1, 4), ones)
    assert (nothing.signal, nothing.mse, nothing.sqnr_db) == (0, 1, -math.inf)


def test_hard_rows_and_16_bit_weights() -> None:
    scheme = TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.GROUP, 32)
    for dtype in (torch.bfloat16, torch.float16):
        weight = hard(dtype=dtype)
        rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)
        parts = error_parts(weight, rounded.tensor, rounded.bounds)
        error = weight.double() - rounded.tensor.dequantize().double()
        assert parts.mse == pytest.approx(error.square().mean().item(), rel=RELATIVE)


def test_a_transposed_view_is_as_good_as_a_copy() -> None:
    weight = gaussian(80, 6).T
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 32)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)
    copy = error_parts(weight.contiguous(), rounded.tensor, rounded.bounds)
    assert error_parts(weight, rounded.tensor, rounded.bounds) == copy
