"""Weighted least squares of scales and minima."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tersor import _native
from tersor.errors import RecipeError, SchemeError
from tersor.grids import (
    AffineGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    ScaleStorage,
    Symmetry,
    TensorScheme,
    nf4,
)
from tersor.ranges import ImportanceWeighted, LeastSquares, MinMax, Observation, Range
from tersor.ranges._lines import Values, best_lines, best_lines_reference
from tersor.rounding import nearest

INT3 = IntegerGrid(3, Symmetry.SIGNED_SCALE)
SCHEMES = {
    "Q4_0": (IntegerGrid(4, Symmetry.SIGNED_SCALE), 32, ScaleFormat.FLOAT16),
    "Q4_1": (AffineGrid(4), 32, ScaleFormat.FLOAT16),
    "Q8_0": (IntegerGrid(8, Symmetry.FULL), 32, ScaleFormat.FLOAT16),
    "Q2_K": (AffineGrid(2), 16, ScaleFormat.U4),
    "Q3_K": (INT3, 16, ScaleFormat.S6),
    "Q4_K": (AffineGrid(4), 32, ScaleFormat.U6),
    "Q6_K": (IntegerGrid(6, Symmetry.SIGNED_SCALE), 16, ScaleFormat.S8),
    "float": (IntegerGrid(4, Symmetry.FULL), 32, ScaleFormat.FLOAT),
}


def scheme_of(name: str) -> TensorScheme:
    grid, size, scale = SCHEMES[name]
    return TensorScheme(grid, Granularity.GROUP, size, scale)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def lost(weight: Tensor, scheme: TensorScheme, range_: Range, importance: Tensor) -> float:
    rounded = nearest(
        weight,
        scheme,
        range_.bind(None).estimator,
        scale_dtype=torch.float16,
        importance=importance,
    )
    return float(((weight.float() - rounded.tensor.dequantize()).square() * importance).sum())


@pytest.mark.parametrize("has_minima", [False, True])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize(("size", "starts"), [(7, 4), (1, 1), (16, 37), (131, 5)])
def test_starts_side_by_side_are_starts_one_by_one(
    has_minima: bool, negative: bool, size: int, starts: int
) -> None:
    """All kinds of vectors, and runs that a block is no multiple of."""
    blocks, importance = random(5, 3, size) + 0.4, random(1, 3, size, seed=1).square()
    values = Values(blocks, importance.expand_as(blocks), 0, 3, has_minima, negative)
    scale = random(5, 3, starts, seed=2).abs() + 0.2
    minimum = -random(5, 3, starts, seed=3).abs() if has_minima else torch.zeros(5, 3, starts)
    found = best_lines(values, scale, minimum, 3)
    expected = best_lines_reference(values, scale, minimum, 3)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-6)
    # Several lines may lose the same; each loses what is said of it.
    again = best_lines_reference(values, found.scale[..., None], found.minimum[..., None], 0)
    torch.testing.assert_close(found.loss, again.loss, rtol=1e-4, atol=1e-6)
    if negative and has_minima:
        assert bool((found.minimum <= 0).all())


def test_without_rounds_the_first_best_start_is_found() -> None:
    values = Values(random(2, 3, 8), torch.ones(2, 3, 8), -4, 3, False)
    scale = torch.tensor([9.0, 0.4, 0.4, torch.nan, 30.0]).expand(2, 3, 5)
    found = best_lines(values, scale, torch.zeros(2, 3, 5), 0)
    assert bool((found.start == 1).all())
    assert torch.equal(found.scale, torch.full((2, 3), 0.4))


def test_blocks_whose_losses_are_no_numbers_keep_their_first_start() -> None:
    values = Values(torch.full((1, 1, 4), torch.nan), torch.ones(1, 1, 4), 0, 3, True)
    found = best_lines(values, torch.tensor([[[2.0, 3.0]]]), torch.zeros(1, 1, 2), 2)
    assert (float(found.scale), int(found.start)) == (2.0, 0)
    assert torch.isinf(found.loss).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": np.ones((2, 3, 5), np.float32)},
        {"scale": np.ones((2, 3, 0), np.float32), "minimum": np.ones((2, 3, 0), np.float32)},
        {"importance": np.ones((2, 3, 7), np.float32)},
        {"loss": np.ones((2, 4), np.float32)},
        {"start": np.ones((3, 3), np.int64)},
        {"lowest": 4.0},
        {"highest": 1e9},
        {"lowest": float("nan")},
    ],
)
def test_the_core_refuses_arrays_that_do_not_fit(wrong: dict[str, Any]) -> None:
    each = {name: np.ones((2, 3), np.float32) for name in ("best_scale", "best_minimum", "loss")}
    given = {
        **{name: np.ones((2, 3, 8), np.float32) for name in ("values", "importance")},
        **{name: np.ones((2, 3, 4), np.float32) for name in ("scale", "minimum")},
        **{"rounds": 1, "lowest": 0.0, "highest": 3.0, "has_minima": True, "negative": False},
        **each,
        "start": np.ones((2, 3), np.int64),
    }
    _native.best_lines(**given)
    with pytest.raises(ValueError, match=r"differ in shape|no starts|fit a byte"):
        _native.best_lines(**{**given, **wrong})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCHEMES)
def test_less_is_lost_than_by_other_ranges(name: str, dtype: torch.dtype) -> None:
    scheme, importance = scheme_of(name), random(512, seed=1).square() + 0.01
    weight = (0.02 * random(9, 512) - 0.004).to(dtype)
    found = lost(weight, scheme, LeastSquares(), importance)
    for other in (MinMax(), ImportanceWeighted()):
        assert found < 0.99 * lost(weight, scheme, other, importance)


@pytest.mark.parametrize("name", SCHEMES)
def test_what_lies_on_the_grid_is_kept(name: str) -> None:
    scheme = scheme_of(name)
    start = nearest(random(3, 256), scheme, MinMax(), scale_dtype=torch.float16).tensor
    again = nearest(start.dequantize(), scheme, LeastSquares(), scale_dtype=torch.float16).tensor
    step = start.scale.value().abs().amax()
    assert (again.dequantize() - start.dequantize()).abs().max() < 0.15 * step


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("fill", [0.0, 0.5, -0.5])
def test_constant_matrices(name: str, fill: float) -> None:
    weight = torch.full((2, 256), fill)
    tensor = nearest(weight, scheme_of(name), LeastSquares(), scale_dtype=torch.float16).tensor
    assert bool(tensor.scale.value().isfinite().all())
    torch.testing.assert_close(tensor.dequantize(), weight, rtol=2e-3, atol=1e-6)


def test_columns_of_no_importance() -> None:
    importance = torch.zeros(256)
    importance[40:] = 1.0  # the first group has none at all
    weight = random(3, 256)
    tensor = nearest(
        weight,
        scheme_of("Q4_K"),
        LeastSquares(),
        scale_dtype=torch.float16,
        importance=importance,
    ).tensor
    assert (tensor.dequantize() - weight)[:, :32].abs().mean() < 0.2


def test_importance_is_the_mean_square() -> None:
    importance = random(64, seed=1).square()
    bound = LeastSquares().bind(Observation(mean_square=importance))
    assert bound.importance is importance
    assert LeastSquares().bind(None).importance is None
    note = LeastSquares().bind(Observation(mean_square=torch.zeros(4))).note
    assert "all columns count alike" in note


def test_grids_without_lines_are_refused() -> None:
    storage = ScaleStorage(torch.float32)
    for grid in (nf4(), IntegerGrid(4, Symmetry.NONE)):
        scheme = TensorScheme(grid, Granularity.GROUP, 32)
        with pytest.raises(SchemeError, match="use range importance"):
            LeastSquares().fitted(random(1, 2, 32), scheme, storage)


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"smallest": 0.0}, {"rounds": -1}])
def test_numbers_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="range least_squares"):
        LeastSquares(**wrong)  # type: ignore[arg-type]
