"""Importance: the weighted error shrinks, at the cost of the unweighted one."""

import pytest
import torch
from torch import Tensor

from every_scheme import gaussian
from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, Symmetry, TensorScheme
from tersor.ranges import ImportanceWeighted, MeanSquaredError, MinMax, RangeEstimator
from tersor.rounding import nearest

SCHEME = TensorScheme(IntegerGrid(3, Symmetry.FULL), Granularity.GROUP, 32)


def importance(columns: int) -> Tensor:
    """A few channels are driven a hundred times harder than the others."""
    weights = torch.rand(columns, generator=torch.Generator().manual_seed(1)) + 0.1
    weights[::13] *= 100
    return weights


def error(estimator: RangeEstimator, scheme: TensorScheme, given: Tensor, counted: Tensor) -> float:
    weight = gaussian(32, len(given))
    rounded = nearest(weight, scheme, estimator, scale_dtype=torch.bfloat16, importance=given)
    squared = (rounded.tensor.dequantize().double() - weight.double()).square()
    return float((squared * counted).sum())


@pytest.mark.parametrize(
    "scheme",
    [
        SCHEME,
        TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.CHANNEL),
        TensorScheme(IntegerGrid(4), Granularity.TENSOR),
        TensorScheme(IntegerGrid(2, Symmetry.SIGNED_SCALE), Granularity.GROUP, 50),
    ],
    ids=str,
)
def test_the_weighted_error_is_smaller(scheme: TensorScheme) -> None:
    weights = importance(160)
    even = torch.ones(160)
    by_importance = error(ImportanceWeighted(), scheme, weights, weights)
    by_size = error(MeanSquaredError(), scheme, even, weights)
    by_range = error(MinMax(), scheme, weights, weights)
    assert by_importance < by_size
    assert by_importance < by_range
    # And nothing is free: counted evenly, the even search is better.
    assert error(MeanSquaredError(), scheme, even, even) < error(
        ImportanceWeighted(), scheme, weights, even
    )


def test_even_importance_is_the_plain_search() -> None:
    blocks = gaussian(4, 64).view(4, 2, 32)
    storage = ScaleStorage(torch.bfloat16)
    plain = MeanSquaredError().bounds(blocks, SCHEME, storage)
    even = ImportanceWeighted().bounds(blocks, SCHEME, storage, torch.ones(1, 2, 32))
    assert torch.equal(torch.stack(plain), torch.stack(even))


def test_a_group_of_no_importance_keeps_its_whole_range() -> None:
    blocks = gaussian(4, 64).view(4, 2, 32)
    storage = ScaleStorage(torch.bfloat16)
    found = ImportanceWeighted().bounds(blocks, SCHEME, storage, torch.zeros(1, 2, 32))
    assert torch.equal(torch.stack(found), torch.stack(blocks.aminmax(dim=-1)))


def test_without_statistics_it_says_what_is_missing() -> None:
    with pytest.raises(RecipeError, match="give --calibration"):
        ImportanceWeighted().bounds(
            gaussian(1, 32).view(1, 1, 32), SCHEME, ScaleStorage(torch.half)
        )
