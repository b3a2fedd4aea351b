"""Importance: the weighted error shrinks, at the cost of the unweighted one."""

import pytest
import torch
from torch import Tensor

from every_scheme import gaussian
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, Symmetry, TensorScheme
from tersor.ranges import (
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    Need,
    Observation,
    RangeEstimator,
)
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


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        (None, ""),
        (Observation(), ""),
        (Observation(mean_square=torch.zeros(32)), "inputs are always zero: all columns"),
        (Observation(mean_square=torch.full((32,), torch.inf)), "inputs hold NaN or infinity: all"),
    ],
)
def test_inputs_that_tell_nothing(seen: Observation | None, note: str) -> None:
    bound = ImportanceWeighted().bind(seen)
    assert bound.importance is None
    assert bound.note.startswith(note)
    assert bool(bound.note) == bool(note)


def test_bound_to_its_inputs_it_weighs_columns_by_them() -> None:
    given = importance(64)
    bound = ImportanceWeighted(steps=7).bind(Observation(mean_square=given))
    assert bound.importance is given
    assert bound.estimator == ImportanceWeighted(steps=7)
    assert ImportanceWeighted().needs == {Need.MEAN_SQUARE}
    assert not MeanSquaredError().needs
