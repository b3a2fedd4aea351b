"""GPTQ: the solver against the textbook, what it must gain, and hard inputs."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from every_scheme import (
    FITTED,
    FLOATS,
    MXFP4,
    NVFP4,
    SAMPLE,
    SCHEMES,
    gaussian,
    granularities,
    hard,
    label,
)
from hessians import correlated, output_error
from tersor import _native
from tersor.errors import NonFiniteWeight, RecipeError, SchemeError
from tersor.grids import (
    Granularity,
    Grid,
    IntegerGrid,
    Symmetry,
    TensorScheme,
    kmeans,
    log2,
    nf4,
)
from tersor.ranges import Entropy, ImportanceWeighted, MeanSquaredError, MinMax, Percentile
from tersor.rounding import Gptq, Order, Rounded, gptq, hessian_factor, nearest
from tersor.rounding.gptq_reference import gptq_reference

DEFAULT = Gptq()
ORDERS: tuple[Order, ...] = get_args(Order)
GRIDS: list[Grid] = [
    *(IntegerGrid(bits, symmetry) for bits in (2, 3, 4, 8) for symmetry in Symmetry),
    IntegerGrid(4, Symmetry.NONE, signed=False),
    IntegerGrid(8, Symmetry.FULL, signed=False),
    nf4(),
    log2(4),
    kmeans(3),
    kmeans(6),
    *FLOATS,
]
# 80 columns: two groups of 32 and a ragged one of 16; five even groups; one that is too large.
REFERENCE = [
    *(scheme for grid in GRIDS for scheme in granularities(grid)),
    *(TensorScheme(grid, Granularity.GROUP, 16) for grid in GRIDS[::4]),
    *(TensorScheme(grid, Granularity.GROUP, 128) for grid in GRIDS[::5]),
    MXFP4,
    NVFP4,
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the pipeline; small matrices are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def round_with(
    weight: Tensor, scheme: TensorScheme, hessian: Tensor, settings: Gptq = DEFAULT
) -> Rounded:
    return gptq(weight, scheme, MinMax(), hessian, scale_dtype=torch.bfloat16, settings=settings)


def rtn(weight: Tensor, scheme: TensorScheme) -> Rounded:
    return nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16)


def same(first: Rounded, second: Rounded) -> bool:
    """Whether two results are the same bits."""
    ours, theirs = first.tensor, second.tensor
    pairs = [
        (ours.codes.view(torch.uint8), theirs.codes.view(torch.uint8)),
        (ours.scale.value(), theirs.scale.value()),
        *zip(first.bounds, second.bounds, strict=True),
    ]
    if ours.zero_point is not None and theirs.zero_point is not None:
        pairs.append((ours.zero_point, theirs.zero_point))
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scheme", REFERENCE, ids=label)
def test_against_the_textbook(scheme: TensorScheme, order: Order) -> None:
    weight, hessian = gaussian(7, 80, seed=3), correlated(80)
    settings = Gptq(order=order, block=24)
    rounded = round_with(weight, scheme, hessian, settings)
    codes, restored = gptq_reference(
        weight, scheme, MinMax(), hessian, scale_dtype=torch.bfloat16, settings=settings
    )
    assert torch.equal(rounded.tensor.codes.float(), codes.float())
    assert torch.equal(rounded.tensor.dequantize(), restored)
    assert rounded.note == ""


@pytest.mark.parametrize("estimator", [MeanSquaredError(6), Percentile(0.98)], ids=str)
@pytest.mark.parametrize("grid", [IntegerGrid(3, Symmetry.NONE), nf4()], ids=label)
def test_against_the_textbook_with_a_range_search(
    grid: Grid, estimator: MeanSquaredError | Percentile
) -> None:
    weight, hessian, settings = gaussian(7, 80, seed=1), correlated(80), Gptq()
    for scheme in granularities(grid):
        rounded = gptq(
            weight, scheme, estimator, hessian, scale_dtype=torch.float16, settings=settings
        )
        codes, _ = gptq_reference(
            weight, scheme, estimator, hessian, scale_dtype=torch.float16, settings=settings
        )
        assert torch.equal(rounded.tensor.codes.float(), codes.float())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=label)
def test_inputs_that_are_uncorrelated_mean_nearest(scheme: TensorScheme, order: Order) -> None:
    weight = torch.cat([gaussian(3, 80), hard()])
    found, expected = (
        round_with(weight, scheme, torch.eye(80), Gptq(order=order)),
        rtn(weight, scheme),
    )
    # FP8 has a −0, which nearest writes for small negative values.
    assert torch.equal(found.tensor.codes.float(), expected.tensor.codes.float())
    same_codes = replace(found, tensor=replace(found.tensor, codes=expected.tensor.codes))
    assert same(same_codes, expected)
    assert found.tensor.scheme == expected.tensor.scheme
    assert found.tensor.scale.data.dtype == expected.tensor.scale.data.dtype


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_the_output_error_is_smaller_than_nearest_s(scheme: TensorScheme, order: Order) -> None:
    weight, hessian = gaussian(64, 160), correlated(160)
    ours = round_with(weight, scheme, hessian, Gptq(order=order)).tensor.dequantize()
    error = output_error(ours - weight, hessian)
    # With 2 bits most weights get 0 either way.
    share = 1.0 if scheme.grid.bits == 2 else 0.9
    assert error < share * output_error(rtn(weight, scheme).tensor.dequantize() - weight, hessian)


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_neither_blocks_nor_threads_nor_other_rows_change_a_bit(scheme: TensorScheme) -> None:
    weight, hessian = gaussian(130, 200), correlated(200)
    alone = round_with(weight, scheme, hessian)
    torch.set_num_threads(2)
    assert same(alone, round_with(weight, scheme, hessian))
    torch.set_num_threads(1)
    for block in (1, 7, 1000):
        assert same(alone, round_with(weight, scheme, hessian, Gptq(block=block)))
    if scheme.granularity is Granularity.TENSOR or scheme.scale_format == "e4m3":
        return
    if scheme.grid not in FITTED:
        few = round_with(weight[60:67], scheme, hessian)
        assert torch.equal(few.tensor.dequantize(), alone.tensor.dequantize()[60:67])


def test_a_matrix_of_several_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hessian = gaussian(200, 80, dtype=torch.bfloat16), correlated(80)
    whole = [round_with(weight, scheme, hessian) for scheme in SAMPLE]
    monkeypatch.setattr("tersor.rounding._panel._PANEL_VALUES", 1)
    for scheme, expected in zip(SAMPLE, whole, strict=True):
        assert same(round_with(weight, scheme, hessian), expected)


def test_a_factor_serves_several_matrices() -> None:
    scheme, hessian = granularities(IntegerGrid(4))[2], correlated(80)
    factor = hessian_factor(hessian, 0.01, "group", 32)
    for seed in range(3):
        weight = gaussian(5, 80, seed)
        shared = gptq(weight, scheme, MinMax(), factor, scale_dtype=torch.bfloat16)
        assert same(shared, round_with(weight, scheme, hessian))


def test_scales_are_fitted_to_corrected_weights() -> None:
    """The second group of a block must see what the first one lost."""
    weight, hessian = gaussian(4, 64), correlated(64)
    scheme, settings = TensorScheme(IntegerGrid(4), Granularity.GROUP, 16), Gptq(order="none")
    rounded = round_with(weight, scheme, hessian, settings)
    low, high = rounded.bounds
    error = (weight - rounded.tensor.dequantize()).double()
    damped = hessian.double() + 0.01 * hessian.diagonal().mean() * torch.eye(64)
    for start in (0, 16, 32, 48):
        # Setting the gradient of tr(ΔW H ΔWᵀ) by the remaining weights to 0.
        shift = error[:, :start] @ damped[:start, start:] @ damped[start:, start:].inverse()
        group = (weight[:, start:] + shift.float())[:, :16]
        assert torch.allclose(high[:, start // 16], group.amax(1), rtol=1e-5)
        assert torch.allclose(low[:, start // 16], group.amin(1), rtol=1e-5)
        if start:
            stale = weight[:, start : start + 16].amax(1)
            assert not torch.allclose(high[:, start // 16], stale, rtol=1e-3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scheme", granularities(IntegerGrid(4, Symmetry.NONE)), ids=label)
def test_columns_whose_input_is_always_0(scheme: TensorScheme, order: Order) -> None:
    weight, hessian, settings = gaussian(5, 80), correlated(80), Gptq(order=order)
    dead = torch.tensor([1, 7, 33, 79])
    hessian[dead] = 0
    hessian[:, dead] = 0
    rounded = round_with(weight, scheme, hessian, settings).tensor
    codes, _ = gptq_reference(
        weight, scheme, MinMax(), hessian, scale_dtype=torch.bfloat16, settings=settings
    )
    assert torch.equal(rounded.codes, codes)
    # What a dead column loses is passed on to nobody: bring its weights to other codes.
    changed = weight.clone()
    changed[:, dead] = 0
    after = round_with(changed, scheme, hessian, settings).tensor
    same_range = (after.scale.data == rounded.scale.data).all(1).expand(5)
    live = torch.ones(80, dtype=torch.bool).index_fill(0, dead, False)
    assert same_range.any()
    assert torch.equal(after.codes[same_range][:, live], codes[same_range][:, live])


@pytest.mark.parametrize("scheme", SAMPLE[::4], ids=label)
@pytest.mark.parametrize(
    ("hessian", "note"),
    [
        (correlated(80).index_fill(0, torch.tensor([3]), math.nan), "NaN or infinity"),
        (correlated(80).index_fill(1, torch.tensor([3]), -math.inf), "NaN or infinity"),
        (torch.zeros(80, 80), "is zero"),
        (-torch.eye(80), "even with damping 1"),
        (torch.ones(80, 80) * 9 - 8 * torch.eye(80), "even with damping 1"),
    ],
    ids=["nan", "infinity", "zero", "negative", "indefinite"],
)
def test_a_useless_hessian_means_nearest(scheme: TensorScheme, hessian: Tensor, note: str) -> None:
    weight = gaussian(3, 80)
    rounded = round_with(weight, scheme, hessian)
    assert same(rounded, rtn(weight, scheme))
    assert note in rounded.note
    assert rounded.note.endswith(": rounded to nearest")
    weighted = gptq(
        weight, scheme, ImportanceWeighted(4), hessian, scale_dtype=torch.bfloat16
    ).tensor
    assert weighted.dequantize().isfinite().all()


@pytest.mark.parametrize("order", ORDERS)
def test_fewer_tokens_than_inputs(order: Order) -> None:
    weight = gaussian(16, 80)
    few = torch.randn(5, 80, generator=torch.Generator().manual_seed(0))
    hessian = few.T @ few / 5
    for scheme in granularities(IntegerGrid(4)):
        rounded = round_with(weight, scheme, hessian, Gptq(order=order))
        ours = rounded.tensor.dequantize()
        error = output_error(ours - weight, hessian)
        expected = output_error(rtn(weight, scheme).tensor.dequantize() - weight, hessian)
        assert error < expected / 2


def test_damping_that_had_to_be_raised_is_reported() -> None:
    hessian = torch.ones(80, 80)
    scheme = granularities(IntegerGrid(4))[2]
    rounded = round_with(gaussian(3, 80), scheme, hessian, Gptq(damping=0.0))
    assert rounded.note == "damping raised to 0.01"


def test_importance_goes_only_where_it_is_asked_for() -> None:
    weight, hessian = gaussian(8, 80), correlated(80)
    scheme = granularities(IntegerGrid(3))[2]

    def bounds(estimator: MeanSquaredError | ImportanceWeighted, given: Tensor | None) -> Tensor:
        rounded = gptq(
            weight, scheme, estimator, hessian, scale_dtype=torch.bfloat16, importance=given
        )
        return rounded.bounds[1]

    diagonal = hessian.diagonal()
    plain, weighted = MeanSquaredError(20), ImportanceWeighted(20)
    assert torch.equal(bounds(weighted, None), bounds(weighted, diagonal))
    assert torch.equal(bounds(weighted, None), bounds(plain, diagonal))
    assert not torch.equal(bounds(plain, None), bounds(plain, diagonal))


def test_entropy_of_a_whole_matrix() -> None:
    weight, hessian = gaussian(8, 512), correlated(512, tokens=2)
    scheme = TensorScheme(IntegerGrid(8), Granularity.TENSOR)
    rounded = gptq(weight, scheme, Entropy(), hessian, scale_dtype=torch.bfloat16)
    assert rounded.tensor.scale.data.shape == (1, 1)


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
@pytest.mark.parametrize("shape", [(1, 1), (1, 80), (65, 1), (3, 5), (64, 17), (1, 33)], ids=str)
@pytest.mark.parametrize("order", ORDERS)
def test_odd_shapes(scheme: TensorScheme, shape: tuple[int, int], order: Order) -> None:
    rows, columns = shape
    weight, hessian = gaussian(rows, columns), correlated(columns)
    rounded = round_with(weight, scheme, hessian, Gptq(order=order))
    expected = rtn(weight, scheme)
    assert rounded.tensor.shape == shape
    assert rounded.tensor.codes.is_contiguous()
    assert rounded.tensor.scale.data.shape == expected.tensor.scale.data.shape
    assert rounded.bounds[0].shape == rounded.bounds[1].shape == expected.bounds[0].shape
    assert rounded.tensor.dequantize().isfinite().all()
    if columns == 1:
        assert torch.equal(rounded.tensor.dequantize(), expected.tensor.dequantize())


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_hard_rows(scheme: TensorScheme, dtype: torch.dtype) -> None:
    weight = hard(dtype=dtype)
    rounded = gptq(weight, scheme, MinMax(), correlated(80), scale_dtype=dtype)
    assert rounded.tensor.dequantize().isfinite().all()
    stored = rounded.tensor.scale.data.dtype
    # Two rows have scales that float16 cannot hold.
    floats = (torch.float32, dtype) if dtype is torch.float16 else (dtype,)
    assert stored == rtn(weight.float(), scheme).tensor.scale.data.dtype or stored in floats
    empty = (weight == 0).all(1)
    if scheme.granularity is not Granularity.TENSOR:
        assert not rounded.tensor.dequantize()[empty].any()


@pytest.mark.parametrize("scheme", SAMPLE[::3], ids=label)
def test_a_transposed_view_is_as_good_as_a_copy(scheme: TensorScheme) -> None:
    weight, hessian = gaussian(80, 6, dtype=torch.bfloat16).T, correlated(80)
    assert same(round_with(weight, scheme, hessian), round_with(weight.clone(), scheme, hessian))
    assert same(round_with(weight, scheme, hessian), round_with(weight, scheme, hessian.T))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("scheme", SAMPLE[::4], ids=label)
def test_nan_and_infinity_are_refused(scheme: TensorScheme, value: float) -> None:
    weight = gaussian(2, 64)
    weight[1, 7] = value
    for hessian in (correlated(64), torch.zeros(64, 64)):
        with pytest.raises(NonFiniteWeight, match="NaN or infinity"):
            round_with(weight, scheme, hessian)


def test_what_does_not_fit_together_is_refused() -> None:
    _, per_channel, per_group = granularities(IntegerGrid(4))
    with pytest.raises(SchemeError, match="80 inputs does not belong to 64 columns"):
        round_with(gaussian(2, 64), per_channel, correlated(80))
    with pytest.raises(SchemeError, match=r"square, and not of shape \(3, 4\)"):
        round_with(gaussian(2, 4), per_channel, torch.ones(3, 4))
    factor = hessian_factor(correlated(64), 0.01, "group", 16)
    with pytest.raises(SchemeError, match="ordered for groups of 16, not 32"):
        gptq(gaussian(2, 64), per_group, MinMax(), factor, scale_dtype=torch.bfloat16)
    with pytest.raises(SchemeError, match="is no matrix to quantize"):
        round_with(torch.zeros(0, 64), per_group, correlated(64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": -0.1}, "damping -0.1"),
        ({"damping": 1.5}, "damping 1.5"),
        ({"damping": math.nan}, "damping nan"),
        ({"order": "random"}, "no order 'random'; use one of none, activation, group"),
        ({"block": 0}, "block 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Gptq(**settings)  # type: ignore[arg-type]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SCHEMES),
    st.integers(1, 5),
    st.integers(1, 100),
    st.integers(0, 1000),
    st.sampled_from(ORDERS),
    st.integers(1, 150),
    st.integers(0, 4),
)
def test_any_matrix(
    scheme: TensorScheme,
    rows: int,
    columns: int,
    seed: int,
    order: Order,
    block: int,
    tokens: int,
) -> None:
    weight, hessian = gaussian(rows, columns, seed), correlated(columns, seed, tokens)
    settings = Gptq(order=order, block=block)
    first = round_with(weight, scheme, hessian, settings)
    assert same(first, round_with(weight.clone(), scheme, hessian, replace(settings, block=128)))
    # A power of two times the Hessian is the same Hessian.
    assert same(first, round_with(weight, scheme, hessian * 2.0**-20, settings))
    assert first.bounds[0].shape == first.tensor.scale.data.shape
    assert first.tensor.dequantize().isfinite().all()
    grid = first.tensor.grid
    if isinstance(grid, IntegerGrid):
        assert grid.code_min <= int(first.tensor.codes.min())
        assert int(first.tensor.codes.max()) <= grid.code_max


def test_native_arguments_are_checked() -> None:
    tiles, byte = torch.zeros(1, 4, 64), torch.zeros(1, 4, 64, dtype=torch.uint8)
    square, scale = torch.zeros(4, 4), torch.ones(1, 1, 64)
    levels = torch.tensor([-1.0, 0.0, 1.0])

    def arrays(errors: Tensor = tiles, feedback: Tensor = square) -> dict[str, Any]:
        return {
            "original": tiles.numpy(),
            "targets": tiles.numpy(),
            "errors": errors.numpy(),
            "codes": byte.numpy(),
            "feedback": feedback.numpy(),
        }

    def feed(last: int = 4, errors: Tensor = tiles, feedback: Tensor = square) -> None:
        corrected = torch.zeros(1, 3, 64).numpy()
        _native.gptq_feed(**arrays(errors, feedback), first=1, last=last, corrected=corrected)

    def integers(block: int = 4, scale: Tensor = scale, top: int = 15) -> None:
        _native.gptq_integers(
            **arrays(),
            first=0,
            last=4,
            block=block,
            scale=scale.numpy(),
            lowest=scale.numpy(),
            top=top,
            first_code=0,
        )

    def sorted_levels(boundaries: int, codes: int) -> None:
        _native.gptq_levels(
            **arrays(),
            first=0,
            last=4,
            block=4,
            scale=scale.numpy(),
            levels=levels.numpy(),
            boundaries=levels[:boundaries].numpy(),
            level_codes=byte[0, 0, :codes].numpy(),
        )

    feed()
    integers()
    sorted_levels(2, 3)
    for work, message in (
        (lambda: feed(last=5), "no such range"),
        (lambda: feed(last=0), "no such range"),
        (lambda: feed(last=3), "corrected and"),
        (lambda: feed(errors=tiles[:, :3].contiguous()), "differ in shape"),
        (lambda: feed(feedback=torch.zeros(4, 5)), "not square"),
        (lambda: integers(block=0), "block must be"),
        (lambda: integers(top=256), "fit a byte"),
        (lambda: integers(scale=torch.ones(1, 3, 64)), "one scale for all"),
        (lambda: integers(scale=torch.ones(2, 1, 64)), "scales and"),
        (lambda: sorted_levels(3, 3), "do not belong together"),
        (lambda: sorted_levels(2, 2), "do not belong together"),
    ):
        with pytest.raises(ValueError, match=message):
            work()
