"""Formats whose scales are float16: codes of models of any type are made for such scales."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from tersor.grids import ScaleFormat
from tersor.runtime.artifact import open_artifact
from tiny_models import save_text, save_tokenizer, tiny

FORMATS = ("gptq", "gptq-v2", "awq", "gguf")
# Between the smallest scales that bfloat16 and float16 hold, and at the edge of the latter.
SMALL = (2.0**-40, 2.0**-23)
MODULE = "model.layers.0.mlp.down_proj"


def saved(path: Path, dtype: torch.dtype, factor: float) -> Path:
    """A model with a group of weights, and a whole row, that are multiplied."""
    model = tiny("llama").to(dtype)
    weight = model.get_submodule(MODULE).weight
    with torch.no_grad():
        weight[3] *= factor
        weight[5, :32] *= factor
    model.save_pretrained(path)
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("factor", SMALL)
@pytest.mark.parametrize("name", FORMATS)
def test_scales_that_float16_does_not_hold(
    name: str, factor: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = saved(tmp_path / "model", dtype, factor)
    out = tmp_path / ("out.gguf" if name == "gguf" else "out")
    tersor.quantize(model, out, "w4", group_size=32, format=name)
    scales = open_artifact(out).linear(MODULE).weight.scale
    assert scales.data.dtype is torch.float16
    assert bool((scales.value() != 0).all())
    original = tiny("llama").to(dtype).get_submodule(MODULE).weight.detach().float()
    found = open_artifact(out).linear(MODULE).weight.dequantize()
    # What is smaller than float16's smallest scales becomes next to nothing; nothing else moves.
    assert float(found[3].abs().max()) <= 8 * 2.0**-23
    rest = torch.ones_like(original, dtype=torch.bool)
    rest[3], rest[5, :32] = False, False
    error = (found - original)[rest].norm() / original[rest].norm()
    assert float(error) < 0.15


@pytest.mark.parametrize("name", ["gptq-v2", "awq"])
@pytest.mark.parametrize("recipe", ["w4", "gptq"])
def test_with_zero_points(name: str, recipe: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", torch.bfloat16, SMALL[0])
    save_tokenizer(model)
    save_text(tmp_path / "text.txt", 2048)
    text = {"calibration": tmp_path / "text.txt", "tokens": 256, "window": 32}
    options: dict[str, Any] = text if recipe == "gptq" else {}
    out = tmp_path / "out"
    tersor.quantize(model, out, recipe, asymmetric=True, group_size=32, format=name, **options)
    assert tersor.check(out).sound
    assert open_artifact(out).linear(MODULE).weight.scale.data.dtype is torch.float16


@pytest.mark.parametrize("name", FORMATS)
def test_the_plan_says_so(name: str, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", torch.bfloat16, 1.0)
    plan = tersor.plan(model, "w4", group_size=32, format=name)
    schemes = [
        one.scheme
        for unit in plan.units
        for tensor in unit.tensors
        for one in tensor.modules
        if one.scheme is not None
    ]
    assert schemes
    assert all(one.weights.scale_format is ScaleFormat.FLOAT16 for one in schemes)
    assert plan.bytes == plan.bytes_at_most
