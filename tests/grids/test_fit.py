"""From range to parameters: one way per scale format; zero points belong to the stored scale."""

import pytest
import torch

from tersor.errors import SchemeError
from tersor.grids import (
    FloatGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    ScaleStorage,
    Symmetry,
    TensorScheme,
    fit,
    fp4,
)

LOW, HIGH = torch.tensor([[-1.5]]), torch.tensor([[2.0]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_zero_point_belongs_to_the_scale_as_stored(dtype: torch.dtype) -> None:
    scheme = TensorScheme(IntegerGrid(8, Symmetry.NONE, signed=False), Granularity.CHANNEL)
    parameters = fit(scheme, LOW, HIGH, ScaleStorage(dtype))
    scale = parameters.scale.value()
    assert torch.equal(scale, torch.tensor([[3.5 / 255]]).to(dtype).float())
    assert parameters.zero_point is not None
    assert torch.equal(parameters.zero_point, torch.round(1.5 / scale).to(torch.uint8))


def test_symmetric_grids_have_no_zero_point() -> None:
    for grid in (IntegerGrid(8), FloatGrid("fp8_e4m3"), fp4()):
        scheme = TensorScheme(grid, Granularity.CHANNEL)
        parameters = fit(scheme, LOW, HIGH, ScaleStorage(torch.float32))
        assert parameters.zero_point is None
        assert parameters.scale.format is ScaleFormat.FLOAT


def test_block_formats() -> None:
    powers = TensorScheme(fp4(), Granularity.GROUP, 32, ScaleFormat.E8M0)
    assert fit(powers, LOW, HIGH, ScaleStorage(torch.bfloat16)).scale.value().item() == 0.5
    small = TensorScheme(fp4(), Granularity.GROUP, 16, ScaleFormat.E4M3)
    storage = ScaleStorage(torch.bfloat16, torch.tensor([448.0 * 6 / 2.0]))
    assert fit(small, LOW, HIGH, storage).scale.value().item() == pytest.approx(2.0 / 6, rel=1e-6)


def test_a_scale_too_large_for_its_type() -> None:
    scheme = TensorScheme(IntegerGrid(2), Granularity.CHANNEL)
    wider = fit(scheme, LOW, torch.tensor([[1e5]]), ScaleStorage(torch.float16)).scale
    assert wider.data.dtype is torch.float32
    assert wider.value().item() == 1e5
    with pytest.raises(SchemeError, match=r"inf does not fit torch.float32; convert the model"):
        fit(scheme, LOW, torch.tensor([[float("inf")]]), ScaleStorage(torch.float16))
