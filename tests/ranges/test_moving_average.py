"""The exponential average of ranges against its closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, TensorScheme
from tersor.ranges import Bounds, MovingAverage, Stream


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 0.99),
    st.lists(st.tuples(st.integers(-9, 0), st.integers(0, 9)), min_size=1, max_size=12),
)
def test_update_against_the_sum(momentum: float, batches: list[tuple[int, int]]) -> None:
    estimator = MovingAverage(momentum)
    average: Bounds | None = None
    for low, high in batches:
        batch = torch.tensor([[float(low)]]), torch.tensor([[float(high)]])
        average = estimator.update(average, batch)
    # r_n = m^n·r_0 + (1 - m)·Σ m^(n-i)·r_i
    last = len(batches) - 1
    weights = [momentum**last] + [
        (1 - momentum) * momentum ** (last - i) for i in range(1, last + 1)
    ]
    assert average is not None
    lows, highs = (torch.tensor(ends, dtype=torch.float32) for ends in zip(*batches, strict=True))
    nothing = torch.zeros(1)
    stream = Stream(lows, highs, centres=nothing, counts=nothing)
    scheme = TensorScheme(IntegerGrid(8), Granularity.TENSOR)
    of_stream = estimator.of_stream(stream, scheme, ScaleStorage(torch.float32))
    assert torch.allclose(torch.cat(of_stream), torch.cat(average), atol=1e-4)
    for end, found in enumerate(average):
        expected = sum(w * batch[end] for w, batch in zip(weights, batches, strict=True))
        assert found.item() == pytest.approx(expected, abs=1e-4)


def test_on_a_weight_it_is_min_max() -> None:
    blocks = torch.tensor([[[1.0, -2.0, 0.5]]])
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    low, high = MovingAverage().bounds(blocks, scheme, ScaleStorage(torch.float32))
    assert (low.item(), high.item()) == (-2.0, 1.0)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 2.0, float("nan")])
def test_momenta_that_make_no_sense(momentum: float) -> None:
    with pytest.raises(RecipeError, match="momentum"):
        MovingAverage(momentum)
