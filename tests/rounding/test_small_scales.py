"""Weights so small that float16 cannot hold their scales are rounded as well as others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from every_scheme import SCHEMES, label
from hessians import correlated
from tersor.grids import TensorScheme, error_parts
from tersor.ranges import MeanSquaredError, MinMax, RangeEstimator
from tersor.rounding import Rounded, gptq, nearest
from tersor.training import LatentScales

Round = Callable[[Tensor, TensorScheme, RangeEstimator], Rounded]


def by_nearest(weight: Tensor, scheme: TensorScheme, estimator: RangeEstimator) -> Rounded:
    return nearest(weight, scheme, estimator, scale_dtype=torch.float16)


def by_gptq(weight: Tensor, scheme: TensorScheme, estimator: RangeEstimator) -> Rounded:
    hessian = correlated(weight.shape[1])
    return gptq(weight, scheme, estimator, hessian, scale_dtype=torch.float16)


def sqnr(weight: Tensor, found: Rounded) -> float:
    return error_parts(weight, found.tensor).sqnr_db


def weights(factor: float) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randn(19, 96, generator=generator) * factor).half()


@pytest.mark.parametrize("scheme", SCHEMES, ids=label)
def test_every_scheme(scheme: TensorScheme) -> None:
    usual = sqnr(weights(1), by_nearest(weights(1), scheme, MinMax()))
    small = sqnr(weights(2e-5), by_nearest(weights(2e-5), scheme, MinMax()))
    assert small > usual - 0.6  # FP4's powers of two may fall elsewhere


@pytest.mark.parametrize("method", [by_nearest, by_gptq])
@pytest.mark.parametrize("estimator", [MinMax(), MeanSquaredError(steps=9)], ids=["minmax", "mse"])
@pytest.mark.parametrize("scheme", SCHEMES[:24:3], ids=label)
def test_every_method(scheme: TensorScheme, estimator: RangeEstimator, method: Round) -> None:
    usual = sqnr(weights(1), method(weights(1), scheme, estimator))
    found = method(weights(2e-5), scheme, estimator)
    assert sqnr(weights(2e-5), found) > usual - 0.6


def test_one_small_row_widens_the_scales_of_all_and_keeps_its_own_weights() -> None:
    weight = weights(1)
    weight[7] = weights(2e-5)[7]
    scheme = next(s for s in SCHEMES if label(s) == "int4-signed_scale-signed-group32")
    found = by_nearest(weight, scheme, MinMax())
    assert found.tensor.scale.data.dtype == torch.float32
    assert sqnr(weight[7:8], Rounded(found.tensor.rows(7, 8), found.bounds)) > 15


def test_training_may_leave_what_float16_holds() -> None:
    scheme = next(s for s in SCHEMES if label(s) == "int4-full-signed-group32")
    latent = LatentScales(by_nearest(weights(2e-4), scheme, MinMax()).tensor)
    assert latent.quantized().scale.data.dtype == torch.float16
    latent.ratio.fill_(0.05)
    trained = latent.quantized().scale
    assert trained.data.dtype == torch.float32
    assert torch.equal(trained.value(), latent.scale())
    assert torch.equal(trained.value(), latent._first * torch.tensor(0.05))
