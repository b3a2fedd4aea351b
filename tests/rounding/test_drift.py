"""The target that makes up for a drifted input: the identity it rests on, and hard statistics."""

import math

import pytest
import torch
from torch import Tensor

from every_scheme import gaussian
from hessians import correlated, output_error
from tersor.errors import SchemeError
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import corrected_target, gptq


def drifted(columns: int = 64, tokens: int = 600) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs ``x`` and ``x_q`` (tokens, columns), and their ``H`` and ``C``."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.eye(columns) + torch.randn(columns, columns, generator=generator) / 8
    original = torch.randn(tokens, columns, generator=generator) @ mixing
    quantized = original * 0.9 + 0.3 * torch.randn(tokens, columns, generator=generator)
    hessian = quantized.T @ quantized / tokens
    cross = (original - quantized).T @ quantized / tokens
    return original, quantized, hessian, cross


def test_the_objectives_differ_by_a_constant() -> None:
    original, quantized, hessian, cross = (part.double() for part in drifted())
    weight = gaussian(8, 64)
    target = corrected_target(weight, hessian, cross, 0.0).double()

    def difference(candidate: Tensor) -> float:
        outputs = original @ weight.double().T - quantized @ candidate.T
        return float(outputs.square().sum() / len(outputs)) - output_error(
            target - candidate, hessian
        )

    noise = gaussian(8, 64, seed=1).double()
    constant = difference(target)
    assert constant > 0
    for candidate in (weight.double(), weight.double() + noise, noise, torch.zeros(8, 64).double()):
        assert difference(candidate) == pytest.approx(constant, rel=1e-5)


def test_gptq_on_the_target_comes_closer_to_the_original_output() -> None:
    original, quantized, hessian, cross = drifted()
    weight = gaussian(32, 64)
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 32)

    def error(target: Tensor) -> float:
        rounded = gptq(target, scheme, MinMax(), hessian, scale_dtype=torch.bfloat16)
        outputs = original @ weight.T - quantized @ rounded.tensor.dequantize().T
        return float(outputs.square().sum())

    assert error(corrected_target(weight, hessian, cross, 0.01)) < 0.9 * error(weight)


def test_without_drift_the_target_is_the_weight() -> None:
    weight = gaussian(4, 64, dtype=torch.bfloat16)
    target = corrected_target(weight, correlated(64), torch.zeros(64, 64), 0.01)
    assert target.dtype == torch.float32
    assert torch.equal(target, weight.float())


def test_damping_draws_the_target_towards_the_weight() -> None:
    _, _, hessian, cross = drifted()
    weight = gaussian(4, 64)
    distances = [
        float((corrected_target(weight, hessian, cross, damping) - weight).norm())
        for damping in (0.0, 0.01, 0.1, 1.0)
    ]
    assert distances == sorted(distances, reverse=True)


def test_inputs_that_are_always_0() -> None:
    _, _, hessian, cross = drifted()
    dead = torch.tensor([3, 40])
    for matrix in (hessian, cross):
        matrix[dead] = 0
        matrix[:, dead] = 0
    weight = gaussian(4, 64)
    target = corrected_target(weight, hessian, cross, 0.0)
    assert target.isfinite().all()
    assert torch.equal(target[:, dead], weight[:, dead])


def test_an_input_that_died() -> None:
    """0 in the quantized model but not in the original: others cannot stand in for it."""
    _, _, hessian, cross = drifted()
    hessian[3] = hessian[:, 3] = cross[:, 3] = 0
    target = corrected_target(gaussian(4, 64), hessian, cross, 0.01)
    assert target.isfinite().all()
    assert torch.equal(target[:, 3], gaussian(4, 64)[:, 3])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_useless_statistics_leave_the_weight(bad: float) -> None:
    weight = gaussian(4, 64)
    _, _, hessian, cross = drifted()
    broken = hessian.clone()
    broken[2, 2] = bad
    zero = torch.zeros(64, 64)
    for pair in ((broken, cross), (hessian, broken), (zero, zero), (-torch.eye(64), cross)):
        assert torch.equal(corrected_target(weight, *pair, 0.01), weight)


def test_a_singular_hessian() -> None:
    inputs = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    hessian = inputs.T @ inputs / 10
    target = corrected_target(gaussian(4, 64), hessian, 0.1 * hessian, 0.01)
    # C = 0.1 H means W* ≈ 1.1 W where there is input, and W elsewhere.
    outputs, expected = inputs @ target.T, 1.1 * inputs @ gaussian(4, 64).T
    assert torch.allclose(outputs, expected, atol=0.02 * float(expected.abs().max()))


def test_shapes_are_checked() -> None:
    with pytest.raises(SchemeError, match="does not go with a Hessian"):
        corrected_target(torch.ones(2, 3), torch.eye(3), torch.eye(4), 0.01)
    with pytest.raises(SchemeError, match="does not go with a Hessian"):
        corrected_target(torch.ones(3), torch.eye(3), torch.eye(3), 0.01)
