"""Calibrated recipes on every family: what is stored, and what it was decided by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from calibrating import (
    calibration_tokens,
    dense,
    inputs_of,
    linears,
    logits,
    original,
    quantize,
    restored,
    save_model,
    small,
)
from tersor.calibration import collect
from tersor.calibration.text import open_text
from tersor.checkpoints.opening import open_source
from tersor.grids import IntegerGrid, Scheme
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.planning import Unit, make_plan
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.whole_model import run as calibrated
from tersor.pipeline.whole_model.run import calibrated_works
from tersor.ranges import BaseRange, Bound, MinMax, Need, Needs, Observation, Range
from tersor.recipes import Override, Recipe, load_recipe
from tersor.rounding import Gptq, gptq, nearest
from tersor.runtime.artifact import open_artifact
from tersor.runtime.load import load
from tersor.transforms import BiasCorrection, ClipSearch, OutputClip
from tiny_models import FAMILIES

DENSE = tuple(family for family in FAMILIES if family not in ("mixtral", "qwen3_moe"))

Models = Callable[..., Path]
Made = Callable[[str, str], tuple[Path, Path, QuantizeResult]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Tiny models with tokenizer and text, each written once."""
    made: dict[str, Path] = {}

    def model(family: str, **overrides: Any) -> Path:
        key = f"{family} {overrides}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp(family) / "model"
            save_model(family, made[key], **overrides)
        return made[key]

    return model


@pytest.fixture(scope="module")
def made(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny model, its artifact by a preset, and the result; each made once."""
    results: dict[tuple[str, str], QuantizeResult] = {}

    def make(family: str, recipe: str) -> tuple[Path, Path, QuantizeResult]:
        key = (family, recipe)
        if key not in results:
            out = tmp_path_factory.mktemp(recipe) / "out"
            results[key] = quantize(models(family), out, small(recipe))
        return models(family), results[key].directory, results[key]

    return make


@pytest.fixture(autouse=True)
def _several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows go through a block together; the last of nine is alone."""
    monkeypatch.setattr(calibrated, "windows_per_piece", lambda window: 2)


def with_bits(recipe: Recipe, bits: int) -> Recipe:
    return replace(recipe.with_bits(bits), name=f"{recipe.name}-{bits}")


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def distances(found: Tensor, expected: Tensor) -> Tensor:
    """The same, token by token."""
    return (found - expected).norm(dim=-1) / expected.norm(dim=-1)


@pytest.mark.parametrize(
    ("family", "recipe"),
    [
        *product(FAMILIES, ["awq-gptq"]),
        *product(["llama", "gpt2", "opt", "phi3", "mixtral"], ["smoothquant"]),
        *product(["llama", "gpt2", "qwen3_moe"], ["gptq", "imatrix", "awq"]),
    ],
)
def test_at_8_bits_the_model_computes_what_it_did(
    models: Models, tmp_path: Path, family: str, recipe: str
) -> None:
    model = models(family)
    quantize(model, tmp_path / "out", with_bits(small(recipe), 8))
    loaded, tokens = load(tmp_path / "out", kernels=False), calibration_tokens(model)[:8]
    # Of most tokens: some go to another expert than before.
    errors = distances(logits(loaded, tokens), logits(original(model), tokens))
    assert float(errors.median()) < 0.05


@pytest.mark.parametrize("family", DENSE)
def test_the_recorded_error_is_that_of_the_inputs_in_the_result(made: Made, family: str) -> None:
    """Each linear is judged by what everything before it, as it was stored, makes of the text."""
    model, out, result = made(family, "gptq")
    weights, stored = dense(model), dense(out)
    names, tokens = linears(model), calibration_tokens(model)
    inputs = inputs_of(restored(model, out), names, tokens)
    records = {f"{record.module}.weight": record for record in result.layers}
    for name in names:
        x, weight, quantized = inputs[name], weights[name], stored[name]
        if family != "gpt2":  # its linears are stored (in, out)
            weight, quantized = weight.T, quantized.T
        error = float((x @ (weight - quantized)).square().sum() / (x @ weight).square().sum())
        assert records[name].output_error == pytest.approx(error, rel=1e-3), name
        assert records[name].tokens == len(x) == tokens.numel()
        assert not records[name].note


@pytest.mark.parametrize("family", FAMILIES)
def test_gptq_loses_less_than_nearest(models: Models, made: Made, family: str) -> None:
    """By the Hessians of the original model, which neither of them saw exactly."""
    hessians = second_moments(models(family))
    errors: dict[str, dict[str, float]] = {}
    for recipe in ("imatrix", "gptq"):
        model, out, _ = made(family, recipe)
        load(out, kernels=False)
        weights, stored = dense(model), dense(out)
        errors[recipe] = {}
        for name, hessian in hessians.items():
            lost = weights[name] - stored[name]
            lost = lost.T if family == "gpt2" else lost
            errors[recipe][name] = float(((lost @ hessian) * lost).sum())
    better = [errors["gptq"][name] < errors["imatrix"][name] for name in hessians]
    assert sum(better) >= 0.9 * len(better)
    assert sum(errors["gptq"].values()) < 0.8 * sum(errors["imatrix"].values())


def second_moments(model: Path) -> dict[str, Tensor]:
    class SecondMoment:
        def __init__(self) -> None:
            self.total, self.tokens = torch.zeros(()), 0

        def update(self, x: Tensor) -> None:
            self.total = self.total + x.T @ x
            self.tokens += len(x)

        def result(self) -> Tensor:
            return self.total / self.tokens

    observers = {name: SecondMoment() for name in linears(model)}
    return collect(open_source(model), observers, calibration_tokens(model))


@pytest.mark.parametrize("kind", ["weights", "w8a8", "w8a8-static"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_statistics_are_those_of_the_quantized_blocks_before(
    models: Models, tmp_path: Path, family: str, kind: str
) -> None:
    """With a first block whose weights, or activations, are hardly recognisable.

    Static ranges, which come of the same pass, do not count yet.
    """
    model, recipe = models(family), small("w8a8-static")
    prefix = {"gpt2": "transformer.h", "opt": "model.decoder.layers"}
    first = f"{prefix.get(family, 'model.layers')}.0."
    coarse = recipe.with_bits(2).scheme if kind == "weights" else rough_activations(kind)
    recipe = replace(recipe, overrides=(Override(f"re:{first}.*", coarse, recipe.range),))
    seen: dict[str, Seen] = {}
    squares: dict[str, Tensor] = {}
    source = open_source(model)
    names, tokens = linears(model), calibration_tokens(model)
    noting = replace(recipe, overrides=tuple(noted(recipe, name, squares) for name in names))
    calibrated_works(
        source, make_plan(source, noting), [open_text(model.with_name("model.txt"))], keep_in(seen)
    )
    quantize(model, tmp_path / "out", recipe)
    simulated, weights_only = (
        load(tmp_path / "out", kernels=False),
        restored(model, tmp_path / "out"),
    )
    dynamic = kind == "w8a8"
    found = inputs_of(simulated if dynamic else weights_only, names, tokens)
    other = weights_only if dynamic else original(model) if kind == "weights" else simulated
    elsewhere = inputs_of(other, names, tokens)
    # What the second block rounds is static: of that, the model knows and calibration does not.
    comparable = [n for n in names if "q_proj" in n or "c_attn" in n][1:] if dynamic else names
    for name in comparable:
        stream = seen[name.removesuffix(".weight")].stream
        assert stream is not None
        # Not the very same: a value between two codes of an activation may go to the other.
        mean_square = found[name].square().mean(0)
        assert distance(squares[name], mean_square) < 3e-3, name
        low, high = float(stream.lows.min()), float(stream.highs.max())
        ends = (float(found[name].min()), float(found[name].max()))
        assert (low, high) == pytest.approx(ends, rel=0.02)
        if not name.startswith(first):
            different = elsewhere[name].square().mean(0)
            assert distance(squares[name], different) > 0.02, name


@dataclass(frozen=True)
class Noting(BaseRange):
    """A range that notes the mean squares of what it is bound to."""

    module: str
    found: dict[str, Tensor]
    range: Range

    @property
    def needs(self) -> Needs:
        return self.range.needs | {Need.MEAN_SQUARE}

    def bind(self, observed: Observation | None) -> Bound:
        assert observed is not None
        assert observed.mean_square is not None
        self.found[f"{self.module}.weight"] = observed.mean_square
        return self.range.bind(observed)


def noted(recipe: Recipe, name: str, found: dict[str, Tensor]) -> Override:
    module = name.removesuffix(".weight")
    treatment = recipe.treatment(module)
    return replace(treatment, match=module, range=Noting(module, found, treatment.range))


def rough_activations(preset: str) -> Scheme:
    """A preset of 8-bit weights, with activations of 3 bits."""
    scheme = small(preset).scheme
    assert scheme.activations is not None
    tensor = replace(scheme.activations.tensor, grid=IntegerGrid(3))
    return replace(scheme, activations=replace(scheme.activations, tensor=tensor))


def keep_in(seen: dict[str, Seen]) -> Callable[[Unit, Work], None]:
    return lambda _, work: seen.update(work.seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_units_are_handed_over_in_the_order_of_the_plan(models: Models, family: str) -> None:
    source = open_source(models(family))
    plan = make_plan(source, small("imatrix"))
    units: list[Unit] = []
    works: list[Work] = []

    def emit(unit: Unit, work: Work) -> None:
        units.append(unit)
        works.append(work)

    calibrated_works(source, plan, [open_text(models(family).with_name("model.txt"))], emit)
    assert units == list(plan.units)
    rounded = [name for work in works for name in work.rounded]
    assert sorted(rounded) == sorted(module.module for module in plan.quantized())


# Scaling


@pytest.mark.parametrize("recipe", ["awq", "smoothquant"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_errors_are_recorded_against_what_was_rounded(made: Made, recipe: str, family: str) -> None:
    """Not against the unscaled weight, which the codes no longer stand for."""
    _, _, result = made(family, recipe)
    expected = 17 if recipe == "awq" else 36
    for record in result.layers:
        if record.scheme:
            assert record.sqnr_db is not None
            assert record.sqnr_db > expected, record.module


def test_awq_changes_norms_and_helps_the_model(tmp_path: Path) -> None:
    """A model with outlier channels, as large ones have: awq leaves less of the error."""
    model = tmp_path / "model"
    save_model("llama", model)
    spread_channels(model)
    tokens = calibration_tokens(model)[:16]
    expected = logits(original(model), tokens)
    lost = {}
    for recipe in ("imatrix", "awq"):
        quantize(model, tmp_path / recipe, small(recipe, range=load_recipe("w4").range))
        lost[recipe] = distance(logits(load(tmp_path / recipe, kernels=False), tokens), expected)
    assert lost["awq"] < 0.9 * lost["imatrix"]
    before, after = dense(model), dense(tmp_path / "awq")
    for norm in ("input_layernorm", "post_attention_layernorm"):
        name = f"model.layers.1.{norm}.weight"
        assert not torch.equal(before[name], after[name])
    assert torch.equal(before["model.norm.weight"], after["model.norm.weight"])


def spread_channels(model: Path) -> None:
    """Make some channels of every norm much larger than the others."""
    file = model / "model.safetensors"
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if "layernorm" in name:
            tensor[::9] *= 12
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_module_that_is_left_out_is_kept_bit_for_bit(models: Models, tmp_path: Path) -> None:
    model = models("llama")
    recipe = small("gptq", exclude=("down_proj", "re:.*layers.1.self_attn.*"))
    quantize(model, tmp_path / "out", recipe)
    before, after = dense(model), dense(tmp_path / "out")
    quantized = open_artifact(tmp_path / "out").schemes
    assert len(quantized) == 14 - 2 - 4
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) == (name.removesuffix(".weight") not in quantized)


def test_scaling_reaches_what_is_left_out_and_the_function_stays(
    models: Models, tmp_path: Path
) -> None:
    model = models("llama")
    recipe = with_bits(small("awq", exclude=("k_proj", "down_proj")), 8)
    quantize(model, tmp_path / "out", recipe)
    tokens = calibration_tokens(model)[:8]
    assert (
        distance(
            logits(load(tmp_path / "out", kernels=False), tokens), logits(original(model), tokens)
        )
        < 0.03
    )


def test_overrides_have_their_own_bits_and_groups(models: Models, tmp_path: Path) -> None:
    model, recipe = models("llama"), small("gptq")
    fine = Override("down_proj", recipe.with_bits(8).scheme, recipe.range)
    narrow = Override("k_proj", recipe.with_group_size(32).scheme, recipe.range)
    result = quantize(model, tmp_path / "out", replace(recipe, overrides=(fine, narrow)))
    artifact = open_artifact(tmp_path / "out")
    weights = artifact.schemes["model.layers.1.mlp.down_proj"].weights
    assert (weights.grid.bits, weights.group_size) == (8, 16)
    assert artifact.schemes["model.layers.1.self_attn.k_proj"].weights.group_size == 32
    errors = {record.module.split(".")[-1]: record.output_error for record in result.layers}
    down, up = errors["down_proj"], errors["up_proj"]
    assert down is not None
    assert up is not None
    assert down < up / 50


# Biases


@pytest.mark.parametrize(
    ("family", "count"), [("opt", 12), ("qwen2", 6), ("gpt2", 8), ("gpt_neox", 8)]
)
@pytest.mark.parametrize("recipe", ["w4", "gptq"])
def test_corrected_biases_leave_no_mean_error(
    models: Models, tmp_path: Path, family: str, count: int, recipe: str
) -> None:
    model = models(family)
    means = {}
    for correct in (False, True):
        out = tmp_path / str(correct)
        # Something to look at is needed to have inputs without correction as well.
        quantize(model, out, small(recipe, correction=BiasCorrection() if correct else None))
        means[correct] = mean_errors(model, out)
        assert len(means[correct]) == count
    for name, error in means[True].items():
        assert error < 1e-5, name
        assert means[False][name] > 100 * error, name


@pytest.mark.parametrize(("family", "count"), [("llama", 14), ("qwen3", 8), ("gemma3_text", 8)])
def test_added_biases_leave_no_mean_error(
    models: Models, tmp_path: Path, family: str, count: int
) -> None:
    model, out = models(family), tmp_path / "out"
    quantize(model, out, small("gptq", correction=BiasCorrection()))
    weights, stored = dense(model), dense(out)
    names = [name for name in linears(model) if name.replace(".weight", ".bias") in stored]
    assert len(names) == count
    inputs = inputs_of(load(out, kernels=False), names, calibration_tokens(model))
    for name in names:
        lost = (weights[name] - stored[name]).double() @ inputs[name].double().mean(0)
        error = (lost - stored[name.replace(".weight", ".bias")]).abs().max()
        assert error < 1e-5, name
        assert lost.abs().max() > 100 * error, name


def mean_errors(model: Path, out: Path) -> dict[str, float]:
    """Largest mean error of an output, by linear with a bias."""
    weights, stored = dense(model), dense(out)
    names = [n for n in linears(model) if n.replace(".weight", ".bias") in weights]
    inputs = inputs_of(restored(model, out), names, calibration_tokens(model))
    errors = {}
    for name in names:
        bias, mean = name.replace(".weight", ".bias"), inputs[name].double().mean(0)
        lost = (weights[name] - stored[name]).double()
        lost = lost.T if name.startswith("transformer.h") else lost  # GPT-2's are (in, out)
        errors[name] = float((lost @ mean + weights[bias] - stored[bias]).abs().max())
    return errors


# Rotation


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("phi3", {}),
        ("gpt2", {}),
        ("qwen3_moe", {}),
    ],
    ids=["llama", "llama-tied", "phi3", "gpt2", "qwen3_moe"],
)
def test_a_rotated_model_computes_what_it_did(
    models: Models, tmp_path: Path, family: str, overrides: dict[str, Any]
) -> None:
    model = models(family, **overrides)
    result = quantize(model, tmp_path / "out", with_bits(small("rotate-gptq"), 8))
    loaded, tokens = load(tmp_path / "out", kernels=False), calibration_tokens(model)[:8]
    errors = distances(logits(loaded, tokens), logits(original(model), tokens))
    assert float(errors.median()) < 0.02
    before, after = dense(model), dense(tmp_path / "out")
    moved = [n for n in linears(model) if distance(after[n], before[n]) > 0.5]
    assert len(moved) == len(linears(model))
    if overrides or family == "gpt2":
        assert not load(tmp_path / "out", kernels=False).config.tie_word_embeddings
        assert any("no longer the embedding" in note for note in result.notes)


def test_a_rotated_bfloat16_model_is_stored_in_bfloat16(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model").bfloat16().save_pretrained(tmp_path / "model")
    quantize(tmp_path / "model", tmp_path / "out", with_bits(small("rotate-gptq"), 8))
    stored = load_file(tmp_path / "out" / "model.safetensors")
    floats = {n: t.dtype for n, t in stored.items() if t.is_floating_point()}
    assert set(floats.values()) == {torch.bfloat16}
    tokens = calibration_tokens(tmp_path / "model")[:8]
    expected = logits(original(tmp_path / "model"), tokens)
    assert distance(logits(load(tmp_path / "out", kernels=False), tokens), expected) < 0.05


# Clipping by outputs


def test_what_is_clipped_is_decided_by_what_a_linear_reads(models: Models, tmp_path: Path) -> None:
    model = models("llama")
    chosen = small("awq", range=ClipSearch(), scaling=None).with_bits(3)
    quantize(model, tmp_path / "out", chosen)
    name = "model.layers.0.self_attn.q_proj"
    x = inputs_of(original(model), [f"{name}.weight"], calibration_tokens(model))[f"{name}.weight"]
    weight, scheme = dense(model)[f"{name}.weight"], chosen.scheme.weights
    found = open_artifact(tmp_path / "out").linear(name).weight
    clip = OutputClip(ClipSearch(), x.T @ x / len(x))
    expected = nearest(weight, scheme, clip, scale_dtype=torch.float32).tensor
    plain = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    assert float((found.scale.value() == expected.scale.value()).float().mean()) > 0.99
    assert float((found.scale.value() == plain.scale.value()).float().mean()) < 0.5


# The head


@pytest.mark.parametrize("recipe", ["gptq", "rotate-gptq"])
def test_an_included_head_is_rounded_by_its_own_hessian(
    models: Models, tmp_path: Path, recipe: str
) -> None:
    model = models("llama")
    chosen = small(recipe, include=("lm_head",), rotation=None, untied=None)
    result = quantize(model, tmp_path / "out", chosen)
    inner = restored(model, tmp_path / "out")
    x = inputs_of(inner, ["lm_head.weight"], calibration_tokens(model))["lm_head.weight"]
    weight = dense(model)["lm_head.weight"]
    scheme, dtype = chosen.scheme.weights, torch.float32
    found = open_artifact(tmp_path / "out").linear("lm_head").weight.codes
    hessian = x.T @ x / len(x)
    expected = gptq(weight, scheme, chosen.range, hessian, scale_dtype=dtype, settings=Gptq())
    plain = nearest(weight, scheme, chosen.range, scale_dtype=dtype, importance=hessian.diagonal())
    assert float((found == expected.tensor.codes).float().mean()) > 0.99
    assert float((found == plain.tensor.codes).float().mean()) < 0.95
    record = next(record for record in result.layers if record.module == "lm_head")
    assert record.tokens == len(x)
