"""Codes and scales with something behind them that can be trained."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme, nf4
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.training import LatentLinear, LatentNorm, LatentScales

SCHEMES = [
    TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.GROUP, 16),
    TensorScheme(IntegerGrid(3, Symmetry.NONE), Granularity.GROUP, 16),
    TensorScheme(IntegerGrid(4, Symmetry.NONE, signed=False), Granularity.GROUP, 20),
    TensorScheme(IntegerGrid(2, Symmetry.SIGNED_SCALE), Granularity.GROUP, 8),
    TensorScheme(IntegerGrid(8, Symmetry.RESTRICTED), Granularity.CHANNEL),
    TensorScheme(IntegerGrid(8, Symmetry.RESTRICTED), Granularity.TENSOR),
]


def latent(scheme: TensorScheme, dtype: torch.dtype = torch.float32) -> LatentLinear:
    weight = torch.randn(12, 48, generator=torch.Generator().manual_seed(0))
    return LatentLinear(nearest(weight, scheme, MinMax(), scale_dtype=dtype).tensor)


def weight_of(learned: LatentLinear) -> Tensor:
    weight = torch.empty(learned.positions.shape)
    learned.weight_into(weight)
    return weight


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_starts_as_what_it_was_made_of(scheme: TensorScheme, dtype: torch.dtype) -> None:
    weight = torch.randn(12, 48, generator=torch.Generator().manual_seed(0))
    start = nearest(weight, scheme, MinMax(), scale_dtype=dtype).tensor
    learned = LatentLinear(start)
    assert torch.equal(weight_of(learned), start.dequantize())
    again = learned.quantized()
    assert torch.equal(again.codes, start.codes)
    assert again.codes.dtype == start.codes.dtype
    assert torch.equal(again.scale.data, start.scale.data)
    assert again.scale.data.dtype == dtype


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_what_it_computes_with_is_what_it_stores(scheme: TensorScheme) -> None:
    learned = latent(scheme, torch.bfloat16)
    generator = torch.Generator().manual_seed(1)
    learned.positions += torch.randn(learned.positions.shape, generator=generator)
    learned.ratio += 0.1 * torch.randn(learned.ratio.shape, generator=generator)
    assert torch.equal(weight_of(learned), learned.quantized().dequantize())


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_gradients_are_those_of_the_straight_through_estimator(scheme: TensorScheme) -> None:
    """Against autograd, with rounding written as the identity."""
    learned = latent(scheme)
    generator = torch.Generator().manual_seed(2)
    learned.positions += 0.3 * torch.randn(learned.positions.shape, generator=generator)
    wanted = torch.randn(learned.positions.shape, generator=generator)
    ratio = learned.ratio.clone().requires_grad_(True)
    positions = learned.positions.clone().requires_grad_(True)
    codes = learned.codes()
    inside = (learned.positions - codes).abs() <= 0.5
    through = codes + torch.where(inside, positions - positions.detach(), 0.0)
    start = learned.quantized()
    zero = torch.tensor(float(scheme.grid.offset)) if start.zero_point is None else start.zero_point
    size = scheme.group_size or 48

    def spread(parameter: Tensor) -> Tensor:
        if parameter.numel() == 1:
            return parameter
        return parameter.repeat_interleave(size, 1)[:, :48]

    first = start.scale.value()  # ratio is 1 everywhere
    weight = (through - spread(zero.float())) * spread(first * ratio)
    (weight * wanted).sum().backward()
    found_positions, found_ratio = learned.position_gradient(wanted), learned.ratio_gradient(wanted)
    assert positions.grad is not None
    assert ratio.grad is not None
    torch.testing.assert_close(found_positions, positions.grad)
    torch.testing.assert_close(found_ratio, ratio.grad, rtol=1e-4, atol=1e-5)


def test_a_position_beyond_the_grid_gets_no_gradient() -> None:
    learned = latent(SCHEMES[0])
    learned.positions[0, 0], learned.positions[0, 1] = 9.0, -20.0
    positions = learned.position_gradient(torch.ones(12, 48))
    assert positions[0, 0] == 0
    assert positions[0, 1] == 0
    assert positions[0, 2] != 0
    assert learned.codes()[0, :2].tolist() == [7.0, -8.0]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_scales_alone_have_the_same_gradient(scheme: TensorScheme) -> None:
    learned = latent(scheme)
    scales = LatentScales(learned.quantized())
    wanted = torch.randn(learned.positions.shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(scales.ratio_gradient(wanted), learned.ratio_gradient(wanted))
    assert torch.equal(scales.codes(), learned.codes())
    assert torch.equal(scales.scale(), learned.scale())


def test_gradients_of_any_float_type_are_read() -> None:
    learned = latent(SCHEMES[0])
    wanted = torch.randn(learned.positions.shape).to(torch.bfloat16)
    assert torch.equal(learned.ratio_gradient(wanted), learned.ratio_gradient(wanted.float()))
    assert torch.equal(learned.position_gradient(wanted), learned.position_gradient(wanted.float()))


def test_small_steps_of_a_norm_add_up_and_it_is_always_what_is_stored() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.0]), requires_grad=False)
    norm = LatentNorm(parameter, torch.bfloat16)
    for _ in range(32):
        norm.move(torch.tensor([1.0, 1.0, 1.0]), 2**-10)
        assert torch.equal(parameter, parameter.to(torch.bfloat16).float())
    assert parameter[:2].tolist() == [1 - 2**-5, -2 - 2**-4]
    assert -(2**-5) < float(parameter[2]) < 0


def test_a_scale_cannot_vanish_or_change_its_sign() -> None:
    learned = latent(SCHEMES[3])
    before = learned.scale()
    learned.ratio.fill_(-3.0)
    assert bool((learned.scale().sign() == before.sign()).all())
    assert bool((learned.scale() != 0).all())


def test_grids_without_integers_are_refused() -> None:
    scheme = replace(SCHEMES[0], grid=nf4())
    with pytest.raises(SchemeError, match="learned rounding needs integer codes, not nf4"):
        latent(scheme)
