"""Simulated activation quantization against a plain loop, and inside a model."""

from pathlib import Path

import pytest
import torch

import tersor
from tersor.errors import FormatError
from tersor.formats import InputParameters
from tersor.grids import (
    ActivationScheme,
    FloatGrid,
    Granularity,
    IntegerGrid,
    Symmetry,
    TensorScheme,
)
from tersor.runtime.artifact import open_artifact
from tersor.runtime.linears.simulated_inputs import attach, fake_quantize
from tiny_models import save_tiny, tokens

INT8 = IntegerGrid(8, Symmetry.RESTRICTED)
INT8_ASYMMETRIC = IntegerGrid(8, Symmetry.NONE)


def _loop_per_token(x: torch.Tensor, asymmetric: bool) -> torch.Tensor:
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        low, high = min(float(row.min()), 0.0), max(float(row.max()), 0.0)
        if asymmetric:
            scale = torch.tensor(high - low) / 255
            zero = torch.round(-128 - torch.tensor(low) / scale).clamp(-128, 127)
        else:
            scale, zero = torch.tensor(max(-low, high)) / 127, torch.tensor(0.0)
        lowest = -128 if asymmetric else -127
        codes = (torch.round(row / scale) + zero).clamp(lowest, 127)
        rows.append((codes - zero) * scale)
    return torch.stack(rows).reshape(x.shape)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_dynamic_per_token(asymmetric: bool) -> None:
    x = torch.randn(2, 5, 33, generator=torch.Generator().manual_seed(0)) * 3 + 1
    grid = INT8_ASYMMETRIC if asymmetric else INT8
    scheme = ActivationScheme(TensorScheme(grid, Granularity.TOKEN), dynamic=True)
    torch.testing.assert_close(
        fake_quantize(x, scheme, None), _loop_per_token(x, asymmetric), rtol=1e-6, atol=1e-6
    )


def test_per_group_with_a_ragged_tail_is_finer_than_per_token() -> None:
    x = torch.randn(7, 40, generator=torch.Generator().manual_seed(1))
    x[:, 3] *= 50
    per_token = ActivationScheme(TensorScheme(INT8, Granularity.TOKEN), dynamic=True)
    per_group = ActivationScheme(TensorScheme(INT8, Granularity.GROUP, 16), dynamic=True)

    def error(scheme: ActivationScheme) -> float:
        return float((fake_quantize(x, scheme, None) - x).square().mean())

    assert error(per_group) < error(per_token)


def test_static_uses_what_was_calibrated() -> None:
    scheme = ActivationScheme(TensorScheme(INT8_ASYMMETRIC, Granularity.TENSOR), dynamic=False)
    given = InputParameters(torch.tensor([0.5]), torch.tensor([-28], dtype=torch.int8))
    x = torch.tensor([[-60.0, -50.0, 0.0, 0.3, 77.5, 90.0]])
    expected = torch.tensor([[-50.0, -50.0, 0.0, 0.5, 77.5, 77.5]])
    assert torch.equal(fake_quantize(x, scheme, given), expected)


def test_zeros_and_16_bit_types_survive() -> None:
    scheme = ActivationScheme(TensorScheme(FloatGrid("fp8_e4m3"), Granularity.TOKEN), dynamic=True)
    x = torch.zeros(3, 8, dtype=torch.bfloat16)
    out = fake_quantize(x, scheme, None)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, x)


def test_a_loaded_model_quantizes_the_inputs_of_its_linears(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w8a8")
    model = tersor.load(tmp_path / "out", kernels=False)
    linear = model.model.layers[0].mlp.down_proj
    seen: list[torch.Tensor] = []
    # Registered later, so it runs after the quantizing hook and sees what the product sees.
    linear.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(tokens(batch=1, length=6))
    rows = seen[0].flatten(0, 1)
    steps = rows / (rows.abs().amax(-1, keepdim=True) / 127)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
    hooked = [n for n, m in model.named_modules() if m._forward_pre_hooks]
    assert len(hooked) == 14


def test_experts_that_cannot_be_hooked_are_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", "w8a8")
    linear = open_artifact(tmp_path / "out").linear("model.layers.0.mlp.up_proj")
    with pytest.raises(FormatError, match="experts"):
        attach(torch.nn.Linear(2, 2), {"model.layers.0.mlp.experts.0.up_proj": linear})
