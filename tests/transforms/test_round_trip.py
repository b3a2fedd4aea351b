"""Rounded and back: weights as ``nearest`` has it, activations as the runtime has it."""

import pytest
import torch

from tersor.grids import ActivationScheme, Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.runtime.linears.simulated_inputs import fake_quantize
from tersor.transforms import ClipSearch, RoundTrip, round_rows


@pytest.mark.parametrize("granularity", [Granularity.TOKEN, Granularity.TENSOR, Granularity.GROUP])
@pytest.mark.parametrize("symmetry", [Symmetry.RESTRICTED, Symmetry.NONE])
def test_rows_are_rounded_as_the_runtime_does_it(
    granularity: Granularity, symmetry: Symmetry
) -> None:
    size = 16 if granularity is Granularity.GROUP else None
    scheme = TensorScheme(IntegerGrid(8, symmetry), granularity, size)
    # Not contiguous, and ragged for groups of 16.
    x = torch.randn(20, 74, generator=torch.Generator().manual_seed(0))[:, 1:]
    expected = fake_quantize(x, ActivationScheme(scheme, dynamic=True), None)
    assert torch.equal(round_rows(x, scheme), expected)


def test_weights_are_rounded_as_nearest_does_it() -> None:
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 16)
    weight = torch.randn(8, 40, generator=torch.Generator().manual_seed(0))
    expected = nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor.dequantize()
    assert torch.equal(RoundTrip(scheme, MinMax(), torch.bfloat16)(weight), expected)
    # How far to clip is not known yet when scales are chosen.
    assert torch.equal(RoundTrip(scheme, ClipSearch(), torch.bfloat16)(weight), expected)
