"""The clip search against trying every factor on real inputs."""

import pytest
import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import (
    Granularity,
    IntegerGrid,
    ScaleStorage,
    Symmetry,
    TensorScheme,
    nf4,
)
from tersor.ranges import ImportanceWeighted, MinMax, Need, Observation, RangeEstimator
from tersor.rounding import nearest
from tersor.transforms import ClipSearch, OutputClip
from tersor.transforms.clip import output_error
from tersor.transforms.round_trip import round_blocks

STORAGE = ScaleStorage(torch.float32)
INT3 = IntegerGrid(3, Symmetry.NONE)
GROUPS = TensorScheme(INT3, Granularity.GROUP, 16)
CHANNELS = TensorScheme(INT3, Granularity.CHANNEL)


def inputs(columns: int, tokens: int = 300) -> Tensor:
    """Correlated and of different sizes, as the inputs of a linear are."""
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(columns, columns, generator=generator) * columns**-0.5
    sizes = torch.rand(columns, generator=generator) * 3
    return torch.randn(tokens, columns, generator=generator) @ (mixed + torch.eye(columns)) * sizes


def weight(rows: int, columns: int) -> Tensor:
    """Heavy tails, so that clipping pays."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(rows, columns, generator=generator).pow(3)


def hessian(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


def mean_output_error(w: Tensor, x: Tensor, scheme: TensorScheme, search: RangeEstimator) -> float:
    importance = x.square().mean(dim=0)
    rounded = nearest(w, scheme, search, scale_dtype=torch.float32, importance=importance)
    return float((x @ (rounded.tensor.dequantize() - w).T).square().sum() / len(x))


@pytest.mark.parametrize(
    ("scheme", "size"),
    [(GROUPS, 16), (CHANNELS, 32), (TensorScheme(nf4(), Granularity.GROUP, 8), 8)],
)
def test_against_trying_every_factor_on_the_inputs(scheme: TensorScheme, size: int) -> None:
    x, w = inputs(32), weight(5, 32)
    search = ClipSearch(steps=5, smallest=0.6)
    low, high = OutputClip(search, hessian(x)).bounds(w.view(5, -1, size), scheme, STORAGE)
    for row in range(5):
        for group in range(32 // size):
            columns = slice(group * size, (group + 1) * size)
            block = w[row, columns].view(1, 1, -1)
            ends = block.amin().view(1, 1), block.amax().view(1, 1)
            found = {}
            for factor in (1.0, 0.9, 0.8, 0.7, 0.6):
                scaled = ends[0] * factor, ends[1] * factor
                error = round_blocks(block, scheme, scaled, STORAGE) - block
                found[factor] = float((x[:, columns] @ error.flatten()).square().sum())
            best = min(found, key=lambda factor: found[factor])
            assert low[row, group].item() == pytest.approx(ends[0].item() * best, rel=1e-6)
            assert high[row, group].item() == pytest.approx(ends[1].item() * best, rel=1e-6)


def test_output_error_is_the_quadratic_form() -> None:
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(4, 3, 8, generator=generator)
    squares = torch.randn(3, 8, 8, generator=generator)
    expected = torch.tensor(
        [[e @ s @ e for e, s in zip(row, squares, strict=True)] for row in error]
    )
    assert torch.allclose(output_error(error, squares), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", [GROUPS, CHANNELS, TensorScheme(INT3, Granularity.GROUP, 24)])
def test_output_error_falls(scheme: TensorScheme) -> None:
    # 64 is ragged for groups of 24.
    x, w = inputs(64), weight(48, 64)
    clip = mean_output_error(w, x, scheme, OutputClip(ClipSearch(), hessian(x)))
    plain = mean_output_error(w, x, scheme, MinMax())
    assert clip < 0.9 * plain


def test_alone_in_its_group_nothing_beats_it() -> None:
    # Per channel the block of H is all of H, so that the search sees the whole error.
    x, w = inputs(64), weight(48, 64)
    search = ClipSearch(steps=40, smallest=0.4)
    clip = mean_output_error(w, x, CHANNELS, OutputClip(search, hessian(x)))
    assert clip <= mean_output_error(w, x, CHANNELS, MinMax())
    assert clip < mean_output_error(w, x, CHANNELS, ImportanceWeighted(40, 0.4))


def test_pieces_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = inputs(32), weight(9, 32).view(9, 2, 16)
    estimator = OutputClip(ClipSearch(), hessian(x))
    whole = estimator.bounds(w, GROUPS, STORAGE)
    monkeypatch.setattr("tersor.transforms.clip._CHUNK_VALUES", 64)
    assert torch.equal(torch.stack(estimator.bounds(w, GROUPS, STORAGE)), torch.stack(whole))


def test_one_step_is_min_max() -> None:
    blocks = weight(4, 32).view(4, 2, 16)
    ours = OutputClip(ClipSearch(steps=1), torch.eye(32)).bounds(blocks, GROUPS, STORAGE)
    assert torch.equal(torch.stack(ours), torch.stack(MinMax().bounds(blocks, GROUPS, STORAGE)))


def test_columns_without_input_are_no_trouble() -> None:
    bounds = OutputClip(ClipSearch(), torch.zeros(32, 32)).bounds(
        weight(4, 32).view(4, 2, 16), GROUPS, STORAGE
    )
    assert torch.equal(
        torch.stack(bounds),
        torch.stack(MinMax().bounds(weight(4, 32).view(4, 2, 16), GROUPS, STORAGE)),
    )


@pytest.mark.parametrize("columns", [31, 48, 64])
def test_a_hessian_of_another_matrix(columns: int) -> None:
    with pytest.raises(SchemeError, match="does not belong to 2 groups of 16 columns"):
        OutputClip(ClipSearch(), torch.eye(columns)).bounds(
            weight(4, 32).view(4, 2, 16), GROUPS, STORAGE
        )


def test_bound_to_what_a_matrix_reads() -> None:
    moments = torch.eye(32)
    bound = ClipSearch(steps=3).bind(Observation(hessian=moments))
    assert isinstance(bound.estimator, OutputClip)
    assert bound.estimator.search == ClipSearch(steps=3)
    assert bound.estimator.hessian is moments
    assert ClipSearch().needs == {Need.SECOND_MOMENTS}
    for nothing in (None, Observation(mean_square=torch.ones(32))):
        assert ClipSearch().bind(nothing).estimator == MinMax()
    spoilt = ClipSearch().bind(Observation(hessian=moments * torch.nan))
    assert (spoilt.estimator, spoilt.note) == (
        MinMax(),
        "inputs hold NaN or infinity: nothing is clipped",
    )


def test_one_range_for_all_is_refused() -> None:
    scheme = TensorScheme(INT3, Granularity.TENSOR)
    with pytest.raises(RecipeError, match="clip needs granularity group or channel"):
        nearest(
            weight(4, 32),
            scheme,
            OutputClip(ClipSearch(), torch.eye(32)),
            scale_dtype=torch.float32,
        )


@pytest.mark.parametrize(
    ("steps", "smallest"), [(0, 0.5), (-1, 0.5), (10, 0.0), (10, 1.5), (10, float("nan"))]
)
def test_searches_that_make_no_sense(steps: int, smallest: float) -> None:
    with pytest.raises(RecipeError, match="clip: steps"):
        ClipSearch(steps, smallest)
