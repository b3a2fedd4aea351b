"""Rounding to nearest: every scheme against a plain loop over groups, and hard inputs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from every_scheme import (
    BLOCK_FORMATS,
    FITTED,
    FIXED_GRIDS,
    MXFP4,
    NVFP4,
    SAMPLE,
    SCHEMES,
    gaussian,
    granularities,
    hard,
    label,
)
from tersor.errors import NonFiniteWeight, RecipeError, SchemeError
from tersor.grids import (
    CodebookGrid,
    Granularity,
    Grid,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    Symmetry,
    TensorScheme,
    nf4,
)
from tersor.grids.blocks import segments
from tersor.ranges import Entropy, MeanSquaredError, MinMax, Percentile
from tersor.rounding import nearest

DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def rtn(
    weight: Tensor, scheme: TensorScheme, dtype: torch.dtype = torch.bfloat16
) -> QuantizedTensor:
    return nearest(weight, scheme, MinMax(), scale_dtype=dtype).tensor


def naive_scale(
    values: Tensor, grid: Grid, scheme: TensorScheme, dtype: torch.dtype, largest: float
) -> Tensor:
    """Float32 scalar: the formulas of the papers, one group at a time."""
    low, high = values.min().clamp(max=0), values.max().clamp(min=0)
    amax = torch.maximum(-low, high)
    if scheme.scale_format is ScaleFormat.E8M0:
        return torch.tensor(2.0 ** (math.floor(math.log2(amax)) - 2) if amax > 0 else 1.0)
    if scheme.scale_format is ScaleFormat.E4M3:
        whole = torch.tensor(448.0 * 6.0) / largest
        relative = (amax / 6 * whole).clamp(2.0**-9, 448)
        return relative.to(torch.float8_e4m3fn).float() / whole
    if isinstance(grid, CodebookGrid):
        scale = amax / (1.0 if grid.fitted else max(grid.levels))
    elif not isinstance(grid, IntegerGrid):
        scale = amax / grid.largest
    else:
        top = 2 ** (grid.bits - 1)
        scale = {
            Symmetry.NONE: (high - low) / (2 * top - 1),
            Symmetry.RESTRICTED: amax / (top - 1),
            Symmetry.FULL: amax / (top - 0.5),
            Symmetry.SIGNED_SCALE: (low if -low > high else high) / -top,
        }[grid.symmetry]
    return scale.to(dtype).float() if scale != 0 else torch.tensor(1.0)


def naive_values(values: Tensor, grid: Grid, scale: Tensor) -> Tensor:
    """What the values of one group are restored to."""
    if isinstance(grid, CodebookGrid):
        levels = torch.tensor(grid.levels) * scale
        return levels[(values.unsqueeze(-1) - levels).abs().argmin(-1)]
    if not isinstance(grid, IntegerGrid):
        return (values / scale).clamp(-grid.largest, grid.largest).to(
            grid.code_dtype
        ).float() * scale
    top = 2 ** (grid.bits - 1)
    if grid.symmetry is Symmetry.NONE:
        zero = torch.round(-values.min().clamp(max=0) / scale).clamp(0, 2 * top - 1)
        return (torch.round(values / scale) + zero).clamp(0, 2 * top - 1).sub(zero) * scale
    lowest = 1 - top if grid.symmetry is Symmetry.RESTRICTED else -top
    return torch.round(values / scale).clamp(lowest, top - 1) * scale


def naive(weight: Tensor, tensor: QuantizedTensor, dtype: torch.dtype) -> Tensor:
    """Restored weight, float32; only fitted levels are taken from ``tensor``."""
    scheme, grid = tensor.scheme, tensor.grid
    weight = weight.float()
    rows, columns = weight.shape
    size = scheme.group_size or columns
    blocks = [weight[r : r + 1, c : c + size] for r in range(rows) for c in range(0, columns, size)]
    if scheme.granularity is Granularity.TENSOR:
        blocks = [weight]
    largest = weight.abs().max().item()
    restored = [
        naive_values(b.flatten(), grid, naive_scale(b, grid, scheme, dtype, largest))
        for b in blocks
    ]
    if scheme.granularity is Granularity.TENSOR:
        return restored[0].view(rows, columns)
    per_row = len(blocks) // rows
    return torch.stack([torch.cat(restored[r * per_row : (r + 1) * per_row]) for r in range(rows)])


@pytest.mark.parametrize("scheme", SCHEMES, ids=label)
def test_against_a_loop_over_groups(scheme: TensorScheme) -> None:
    # 80 columns: two groups of 32 and a ragged one of 16.
    weight = gaussian(3, 80)
    tensor = rtn(weight, scheme)
    assert tensor.shape == (3, 80)
    expected, found = naive(weight, tensor, torch.bfloat16), tensor.dequantize()
    if isinstance(scheme.grid, CodebookGrid):
        # Two levels may be equally near up to rounding: then the error is the same.
        assert torch.allclose((found - weight).abs(), (expected - weight).abs(), atol=1e-7)
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("scheme", SCHEMES, ids=label)
def test_requantizing_with_the_same_parameters_changes_no_code(scheme: TensorScheme) -> None:
    tensor = rtn(torch.cat([gaussian(3, 80), hard()]), scheme)
    restored, scale = tensor.dequantize(), tensor.scale.value()
    for segment in segments(scheme, 80):
        zero = None if tensor.zero_point is None else segment.parameters(tensor.zero_point)
        again = tensor.grid.encode(segment.blocks(restored), segment.parameters(scale), zero)
        assert torch.equal(again.float(), segment.blocks(tensor.codes).float())


@pytest.mark.parametrize("scale_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weight_dtype", DTYPES, ids=str)
def test_every_float_type_in_and_as_scale(
    weight_dtype: torch.dtype, scale_dtype: torch.dtype
) -> None:
    weight = gaussian(3, 80, dtype=weight_dtype)
    for grid in (IntegerGrid(4, Symmetry.NONE), IntegerGrid(8), nf4()):
        for scheme in granularities(grid):
            tensor = rtn(weight, scheme, scale_dtype)
            assert tensor.scale.data.dtype == scale_dtype
            expected = naive(weight, tensor, scale_dtype)
            assert torch.allclose(tensor.dequantize(), expected, atol=1e-7)


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hard_rows(scheme: TensorScheme, dtype: torch.dtype) -> None:
    weight = hard(dtype=dtype)
    tensor = rtn(weight, scheme, dtype)
    scale, restored = tensor.scale.value(), tensor.dequantize()
    assert scale.isfinite().all()
    assert (scale != 0).all()
    assert restored.isfinite().all()
    assert not restored[weight == 0].any()
    # No value ends up further away than the largest of its group was from 0.
    group = weight.float().abs().amax() if scheme.granularity is Granularity.TENSOR else None
    bound = weight.float().abs().amax(1, keepdim=True) if group is None else group
    assert ((restored - weight.float()).abs() <= bound * 1.01).all()


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_constant_rows_survive(scheme: TensorScheme) -> None:
    weight = torch.tensor([[0.5], [-0.25], [0.0]]).expand(3, 64).contiguous()
    if scheme.granularity is Granularity.TENSOR:
        weight = weight[:1]
    restored = rtn(weight, scheme, torch.float32).dequantize()
    # The largest value of a group is on a level, or half a step off one: 2-bit full range has
    # steps of 2/3 of it, log2 and MXFP4 levels lie a factor of up to 2 apart, and a fitted level
    # is in the middle of its bin.
    assert ((restored - weight).abs() <= weight.abs() * 0.334).all()
    assert torch.equal(restored[2:], weight[2:])


@pytest.mark.parametrize("scheme", [MXFP4, NVFP4, *granularities(IntegerGrid(4))], ids=label)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("estimator", [MinMax(), MeanSquaredError(2), Percentile(0.9)], ids=str)
def test_nan_and_infinity_are_refused(
    scheme: TensorScheme, value: float, estimator: MinMax | MeanSquaredError | Percentile
) -> None:
    weight = gaussian(2, 64, dtype=torch.bfloat16)
    weight[1, 7] = value
    with pytest.raises(NonFiniteWeight, match="NaN or infinity"):
        nearest(weight, scheme, estimator, scale_dtype=torch.bfloat16)


@pytest.mark.parametrize("scheme", granularities(FITTED[0]), ids=label)
def test_nan_is_refused_before_a_codebook_is_fitted(scheme: TensorScheme) -> None:
    weight = gaussian(2, 64)
    weight[0, 0] = math.nan
    with pytest.raises(NonFiniteWeight):
        rtn(weight, scheme)


@pytest.mark.parametrize("shape", [(0, 64), (64, 0), (0, 0), (64,), (2, 3, 4)])
@pytest.mark.parametrize("scheme", [*granularities(IntegerGrid(4)), *BLOCK_FORMATS], ids=label)
def test_what_is_no_matrix_is_refused(scheme: TensorScheme, shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemeError, match="is no matrix to quantize"):
        rtn(torch.zeros(shape), scheme)


@pytest.mark.parametrize("grid", [IntegerGrid(4), IntegerGrid(4, Symmetry.NONE), nf4()], ids=label)
def test_a_single_column(grid: Grid) -> None:
    weight = torch.tensor([[0.5], [-0.25], [0.0]])
    for scheme in granularities(grid)[1:]:
        assert torch.equal(rtn(weight, scheme, torch.float32).dequantize(), weight)


@pytest.mark.parametrize(
    ("symmetry", "factor"), [(Symmetry.RESTRICTED, 127.0), (Symmetry.NONE, 255.0)]
)
def test_scales_beyond_fp16(symmetry: Symmetry, factor: float) -> None:
    scheme = TensorScheme(IntegerGrid(8, symmetry), Granularity.CHANNEL)
    fits = torch.tensor([[65504.0 * factor, 0.0]])
    assert rtn(fits, scheme, torch.float16).scale.value().item() == 65504
    wider = rtn(fits * 1.01, scheme, torch.float16)
    assert wider.scale.data.dtype is torch.float32
    torch.testing.assert_close(wider.dequantize(), fits * 1.01)
    assert rtn(fits * 1.01, scheme, torch.bfloat16).scale.value().isfinite().all()


@pytest.mark.parametrize("symmetry", Symmetry)
def test_scales_below_fp16_are_stored_in_a_wider_type(symmetry: Symmetry) -> None:
    # 1e-5/127 is far below fp16's smallest normal number.
    scheme = TensorScheme(IntegerGrid(8, symmetry), Granularity.CHANNEL)
    tiny = torch.finfo(torch.float16).tiny
    weight = torch.tensor([[1e-5, -1e-5, 0.0], [tiny * 4, -tiny * 3, tiny]])
    tensor = rtn(weight, scheme, torch.float16)
    assert tensor.scale.data.dtype is torch.float32
    lost = (tensor.dequantize() - weight).abs().amax(1)
    assert bool((lost <= weight.abs().amax(1) / 127).all())


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_denormal_weights(scheme: TensorScheme) -> None:
    weight = torch.tensor([[1e-45, -1e-40, 1e-42] * 20])
    restored = rtn(weight, scheme).dequantize()
    assert restored.isfinite().all()
    assert (restored.abs() <= 2e-38).all()


def test_a_range_without_zero_is_extended_to_it() -> None:
    scheme = TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.CHANNEL)
    weight = torch.tensor([[3.0, 4.5, 6.0], [-6.0, -4.5, -3.0]])
    tensor = rtn(weight, scheme, torch.float32)
    assert tensor.zero_point is not None
    assert tensor.zero_point.flatten().tolist() == [-8, 7]
    assert torch.allclose(tensor.dequantize(), torch.tensor([[3.2, 4.4, 6.0], [-6.0, -4.4, -3.2]]))


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_a_transposed_view_is_as_good_as_a_copy(scheme: TensorScheme) -> None:
    weight = gaussian(80, 6, dtype=torch.bfloat16).T
    ours, copy = rtn(weight, scheme), rtn(weight.contiguous(), scheme)
    assert torch.equal(ours.dequantize(), copy.dequantize())
    assert torch.equal(ours.codes.float(), copy.codes.float())


@pytest.mark.parametrize(
    "scheme", [s for grid in FIXED_GRIDS[::9] for s in granularities(grid)[1:]], ids=label
)
def test_rows_are_quantized_alike_alone_and_together(scheme: TensorScheme) -> None:
    weight = gaussian(700, 512)  # more than one chunk
    together = rtn(weight, scheme).dequantize()
    for row in (0, 350, 699):
        assert torch.equal(rtn(weight[row : row + 1], scheme).dequantize()[0], together[row])


def test_entropy_is_for_whole_matrices() -> None:
    weight = gaussian(8, 512)
    weight[3, 3] = 50.0
    per_tensor, per_channel, _ = granularities(IntegerGrid(8))
    importance = torch.ones(512)
    for weights in (None, importance):
        rounded = nearest(
            weight, per_tensor, Entropy(), scale_dtype=torch.bfloat16, importance=weights
        )
        assert rounded.bounds[1].item() < 25
        assert rounded.tensor.dequantize().max() < 25
    with pytest.raises(RecipeError, match="range entropy needs 1024 values"):
        nearest(weight, per_channel, Entropy(), scale_dtype=torch.bfloat16)


def test_bounds_are_those_of_the_estimator() -> None:
    weight = gaussian(4, 80)
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 32)
    low, high = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).bounds
    groups = [weight[:, :32], weight[:, 32:64], weight[:, 64:]]
    assert torch.equal(low, torch.stack([g.amin(1) for g in groups], 1))
    assert torch.equal(high, torch.stack([g.amax(1) for g in groups], 1))


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_fitted_levels_beat_the_uniform_grid(bits: int) -> None:
    from tersor.grids import kmeans

    weight = gaussian(64, 256)
    for fitted, uniform in zip(
        granularities(kmeans(bits)), granularities(IntegerGrid(bits)), strict=True
    ):
        ours = (rtn(weight, fitted).dequantize() - weight).square().sum()
        assert ours < (rtn(weight, uniform).dequantize() - weight).square().sum()


def test_fitted_levels_belong_to_the_tensor() -> None:
    scheme = granularities(FITTED[0])[1]
    first, second = rtn(gaussian(8, 64), scheme), rtn(gaussian(8, 64, seed=1), scheme)
    assert first.codebook is not None
    assert second.codebook is not None
    assert not torch.equal(first.codebook, second.codebook)
    assert first.scheme == second.scheme == scheme
    assert 0.0 in first.codebook


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SCHEMES), st.integers(1, 5), st.integers(1, 100), st.integers(0, 1000))
def test_the_same_input_gives_the_same_codes(
    scheme: TensorScheme, rows: int, columns: int, seed: int
) -> None:
    weight = gaussian(rows, columns, seed)
    first, second = rtn(weight, scheme), rtn(weight.clone(), scheme)
    assert torch.equal(first.codes.float(), second.codes.float())
    assert torch.equal(first.scale.value(), second.scale.value())
    groups = 1 if scheme.granularity is Granularity.TENSOR else scheme.groups(columns)
    heads = 1 if scheme.granularity is Granularity.TENSOR else rows
    assert first.scale.data.shape == (heads, groups)
