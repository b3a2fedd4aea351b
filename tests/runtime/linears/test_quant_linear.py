"""Models on native kernels, against the same artifacts simulated."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import tersor
from calibrating import BUDGET, calibration_tokens, quantize, save_model
from tersor.errors import FormatError, RecipeError
from tersor.grids import Granularity, IntegerGrid, QuantizedTensor, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.recipes import load_recipe, parse, preset_text
from tersor.rounding import nearest
from tersor.runtime.artifact import open_artifact
from tersor.runtime.linears.kernels import float_linear, linear
from tersor.runtime.linears.packing import pack_linear
from tersor.runtime.linears.quant_linear import QuantLinear, WeightOnlyLinear
from tersor.runtime.linears.replacing import use_kernels
from tersor.runtime.linears.static_input import fixed_input
from tersor.runtime.load import load


def artifact_of(family: str, recipe: str, tmp_path: Path) -> Path:
    save_model(family, tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", load_recipe(recipe).with_group_size(0))
    return tmp_path / "out"


def logits(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(tokens).logits
    return found


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text", "phi3", "opt", "gpt2"])
def test_a_w8a8_model_is_the_simulated_one(family: str, tmp_path: Path) -> None:
    out = artifact_of(family, "w8a8", tmp_path)
    tokens = calibration_tokens(tmp_path / "model")[:3]
    simulated, native = load(out, kernels=False), load(out)
    count = sum(isinstance(module, QuantLinear) for module in native.modules())
    assert count == len(open_artifact(out).schemes)
    # Sums differ in their last digits, so now and then an activation is rounded the other way.
    assert distance(logits(native, tokens), logits(simulated, tokens)) < 0.01


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("symmetry", ["none", "restricted", "full"])
def test_ranges_fixed_beforehand_are_the_simulated_ones(
    family: str, symmetry: str, tmp_path: Path
) -> None:
    save_model(family, tmp_path / "model")
    document = yaml.safe_load(preset_text("w8a8-static"))
    document["activations"]["symmetry"] = symmetry
    recipe = replace(parse(yaml.safe_dump(document), "static"), calibration=BUDGET)
    out = tmp_path / "out"
    quantize(tmp_path / "model", out, recipe)
    tokens = calibration_tokens(tmp_path / "model")[:3]
    simulated, native = load(out, kernels=False), load(out)
    count = sum(isinstance(module, QuantLinear) for module in native.modules())
    assert count == len(open_artifact(out).schemes)
    assert distance(logits(native, tokens), logits(simulated, tokens)) < 0.01


def test_static_ranges_that_are_missing_are_named(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    quantize(
        tmp_path / "model",
        tmp_path / "out",
        replace(load_recipe("w8a8-static"), calibration=BUDGET),
    )
    artifact = open_artifact(tmp_path / "out")
    name = next(iter(artifact.schemes))
    stored = artifact.source.tensors
    left = {n: info for n, info in stored.items() if n != f"{name}.input_scale"}
    artifact.source.tensors = left  # type: ignore[misc]
    with pytest.raises(FormatError, match=rf"{name} has static .*input_scale"):
        fixed_input(artifact, name)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
@pytest.mark.parametrize("recipe", ["w4", "w4-asym", "w2"])
def test_a_weight_only_model_loses_little_by_rounding_activations(
    family: str, recipe: str, tmp_path: Path
) -> None:
    out = artifact_of(family, recipe, tmp_path)
    tokens = calibration_tokens(tmp_path / "model")[:3]
    apart = distance(logits(load(out), tokens), logits(load(out, kernels=False), tokens))
    assert 0 < apart < 0.03


def test_generation_goes_through_the_kernels(tmp_path: Path) -> None:
    out = artifact_of("llama", "w8a8", tmp_path)
    tokens = calibration_tokens(tmp_path / "model")[:1, :8]
    first, second = (
        load(out, kernels=kernels).generate(tokens, max_new_tokens=8, do_sample=False)
        for kernels in (True, False)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("recipe", ["nf4", "log2", "kmeans", "mxfp4", "w4-asym", "w3"])
def test_weights_alone_are_quantized_where_that_is_asked_for(
    family: str, recipe: str, tmp_path: Path
) -> None:
    save_model(family, tmp_path / "model")
    tersor.quantize(tmp_path / "model", tmp_path / "out", recipe)
    tokens = calibration_tokens(tmp_path / "model")[:3]
    native, simulated = (
        load(tmp_path / "out", activation_bits=16),
        load(tmp_path / "out", kernels=False),
    )
    replaced = [m for m in native.modules() if isinstance(m, WeightOnlyLinear)]
    assert len(replaced) == len(open_artifact(tmp_path / "out").schemes)
    assert distance(logits(native, tokens), logits(simulated, tokens)) < 1e-5


def test_a_scheme_that_rounds_activations_is_obeyed(tmp_path: Path) -> None:
    out = artifact_of("llama", "w8a8", tmp_path)
    tokens = calibration_tokens(tmp_path / "model")[:2]
    assert torch.equal(logits(load(out, activation_bits=16), tokens), logits(load(out), tokens))


def test_activations_of_other_widths_are_refused(tmp_path: Path) -> None:
    out = artifact_of("llama", "w4", tmp_path)
    with pytest.raises(RecipeError, match="activation_bits must be 8 or 16, not 4"):
        load(out, activation_bits=4)


def test_what_has_no_kernel_stays_and_is_named(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    tokens, reason = calibration_tokens(tmp_path / "model")[:2], "no kernel for weights on the grid"
    tersor.quantize(tmp_path / "model", tmp_path / "fp8", "fp8")
    model, artifact = load(tmp_path / "fp8", kernels=False), open_artifact(tmp_path / "fp8")
    before = logits(model, tokens)
    left = use_kernels(model, artifact)
    assert set(left) == set(artifact.schemes)
    assert all(reason in why for why in left.values())
    assert torch.equal(logits(model, tokens), before)
    with pytest.warns(UserWarning, match=rf"{len(left)} linears stay with torch; .*{reason}"):
        load(tmp_path / "fp8")


def test_an_ordinary_model_has_nothing_to_replace(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    model = load(tmp_path / "model")
    assert not any(isinstance(module, QuantLinear) for module in model.modules())


def test_the_module_alone() -> None:
    scheme = TensorScheme(IntegerGrid(4, Symmetry.FULL), Granularity.GROUP, 32)
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    whole: QuantizedTensor = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    packed, bias = pack_linear(whole), torch.arange(20.0)
    module, x = QuantLinear(packed, bias), torch.randn(2, 3, 64).to(torch.bfloat16)
    y = module(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, (linear(x, packed) + bias).to(torch.bfloat16))
    assert str(module) == "QuantLinear(64, 20, bits=4, group=32)"
    assert torch.equal(QuantLinear(packed, None)(x), linear(x, packed).to(torch.bfloat16))
    alone = WeightOnlyLinear(packed, bias)
    assert torch.equal(alone(x), (float_linear(x, packed) + bias).to(torch.bfloat16))
    assert str(alone) == "WeightOnlyLinear(64, 20, bits=4, group=32)"
