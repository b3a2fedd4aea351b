"""Recipes that compare with the original model: drift, learned rounding, distillation, QAT."""

import filecmp
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PhiConfig

from calibrating import (
    WINDOW,
    calibration_tokens,
    logits,
    original,
    quantize,
    restored,
    save_model,
    small,
    threads,
)
from tersor.checkpoints.opening import open_source
from tersor.errors import RecipeError, SchemeError, SourceError
from tersor.pipeline.planning import make_plan
from tersor.pipeline.result import QuantizeResult
from tersor.recipes import Recipe, load_recipe
from tersor.training import Distill, Optq, Qat

Make = Callable[[str, str], tuple[Path, Path, QuantizeResult]]
FAMILIES = ["llama", "gemma3_text", "phi3", "opt", "gpt2", "gpt_neox", "mixtral"]
OPTQ = Optq(iterations=120, tokens=3 * WINDOW, checks=1)
DISTILL = Distill(tokens=9 * WINDOW, epochs=6, batch=3 * WINDOW, scale_rate=0.003)
QAT = Qat(tokens=9 * WINDOW, epochs=20, batch=3 * WINDOW, scale_rate=0.003, position_rate=0.05)
CHANGES = {
    "gptq": {},
    "gptaq": {},
    "optq": {"rounding": OPTQ},
    "distill": {"training": DISTILL},
    "qat": {"training": QAT},
}

# A head with a bias.
TINY_PHI = {
    "vocab_size": 131,
    "hidden_size": 60,
    "intermediate_size": 156,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}


def recipe(name: str) -> Recipe:
    """A preset for tiny models, at 3 bits: what is lost is large enough to be won back."""
    return small(load_recipe(name).with_bits(3), **CHANGES[name])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Family and preset → the model, its artifact and the result, made once."""

    @cache
    def model(family: str) -> Path:
        directory = tmp_path_factory.mktemp(family) / "model"
        save_model(family, directory)
        return directory

    @cache
    def build(family: str, name: str) -> tuple[Path, Path, QuantizeResult]:
        directory = model(family)
        out = directory.with_name(name)
        return directory, out, quantize(directory, out, recipe(name))

    return build


def divergence(directory: Path, artifact: Path) -> float:
    """Mean KL from the original's predictions, on the text of the calibration."""
    tokens = calibration_tokens(directory)
    p, q = (
        logits(model, tokens).log_softmax(-1)
        for model in (original(directory), restored(directory, artifact))
    )
    return float((p.exp() * (p - q)).sum(-1).mean())


def distance(directory: Path, artifact: Path) -> float:
    """Mean squared distance of the last block's outputs, relative to their size."""
    tokens = calibration_tokens(directory)
    found: list[Tensor] = []
    norms = ("norm", "ln_f", "final_layer_norm")
    for model in (original(directory), restored(directory, artifact)):
        inner = getattr(model.base_model, "decoder", model.base_model)
        setattr(inner, next(name for name in norms if hasattr(inner, name)), torch.nn.Identity())
        with torch.no_grad():
            output = model.base_model(tokens, use_cache=False)
        found.append(output.last_hidden_state)
    return float((found[0] - found[1]).square().mean() / found[0].square().mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_drift_brings_the_model_closer_to_the_original(made: Make, family: str) -> None:
    directory, plain, _ = made(family, "gptq")
    _, aimed, _ = made(family, "gptaq")
    assert distance(directory, aimed) < distance(directory, plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_learning_is_no_worse_than_its_start(made: Make, family: str) -> None:
    directory, start, _ = made(family, "gptaq")
    _, learned, _ = made(family, "optq")
    assert distance(directory, learned) <= distance(directory, start)


@pytest.mark.parametrize("family", ["llama", "phi3", "opt"])
def test_learning_improves_on_its_start(made: Make, family: str) -> None:
    directory, start, _ = made(family, "gptaq")
    _, learned, _ = made(family, "optq")
    assert distance(directory, learned) < 0.95 * distance(directory, start)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "mixtral", "gemma2"])
@pytest.mark.parametrize("name", ["distill", "qat"])
def test_training_brings_predictions_closer(made: Make, family: str, name: str) -> None:
    directory, start, _ = made(family, "gptaq")
    _, trained, result = made(family, name)
    assert divergence(directory, trained) < 0.95 * divergence(directory, start)
    assert any("training took the divergence" in note for note in result.notes)


def test_distilling_changes_scales_and_qat_changes_codes(made: Make) -> None:
    from tersor.runtime.artifact import open_artifact

    name = "model.layers.0.mlp.up_proj"
    start, scales, both = (
        open_artifact(made("llama", preset)[1]).linear(name).weight
        for preset in ("gptaq", "distill", "qat")
    )
    assert torch.equal(start.codes, scales.codes)
    assert not torch.equal(start.scale.data, scales.scale.data)
    assert not torch.equal(start.codes, both.codes)


@pytest.mark.parametrize("name", ["gptaq", "optq", "qat"])
def test_the_same_bytes_on_one_core_and_on_two(made: Make, name: str, tmp_path: Path) -> None:
    directory, out, _ = made("llama", name)
    with threads(1):
        quantize(directory, tmp_path / "one", recipe(name))
    with threads(2):
        quantize(directory, tmp_path / "two", recipe(name))
    names = [path.name for path in out.iterdir() if path.is_file()]
    for other in (tmp_path / "one", tmp_path / "two"):
        _, different, missing = filecmp.cmpfiles(out, other, names, shallow=False)
        assert (different, missing) == ([], [])


def test_an_interrupted_training_goes_on(made: Make, tmp_path: Path) -> None:
    directory, out, _ = made("llama", "distill")
    other = tmp_path / "out"
    chosen = recipe("distill")

    def interrupt(done: int, total: int) -> None:
        if total == 18 and done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(directory, other, chosen, progress=interrupt)
    assert not other.exists()
    steps: list[int] = []
    quantize(
        directory,
        other,
        chosen,
        resume=True,
        progress=lambda done, total: steps.append(done) if total == 18 else None,
    )
    assert steps == list(range(11, 19))
    beside = ["out", "out.layers.csv", "out.log.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == beside
    names = [path.name for path in out.iterdir() if path.is_file()]
    assert filecmp.cmpfiles(out, other, names, shallow=False)[1:] == ([], [])


def test_errors_after_learning_are_not_those_from_before(made: Make) -> None:
    """What GPTQ's solver lost on its own is no longer true, so it is not reported."""
    _, _, before = made("llama", "gptaq")
    assert all(r.output_error is not None for r in before.layers if r.digest)
    for name in ("optq", "qat"):
        _, _, after = made("llama", name)
        assert all(r.output_error is None for r in after.layers)
        assert [r.tokens for r in after.layers] == [r.tokens for r in before.layers]


@pytest.mark.parametrize("name", ["optq", "qat"])
def test_codebooks_cannot_be_learned(made: Make, tmp_path: Path, name: str) -> None:
    directory, _, _ = made("llama", "gptaq")
    wrong = replace(recipe(name), scheme=small("nf4").scheme)
    with pytest.raises((SchemeError, RecipeError), match="integer codes, not nf4"):
        quantize(directory, tmp_path / "out", wrong)
    assert not (tmp_path / "out").exists()


def test_logits_that_are_no_product_are_refused_before_any_text_is_read(tmp_path: Path) -> None:
    config = PhiConfig(**TINY_PHI)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    with pytest.raises(SourceError, match="nothing to train by"):
        make_plan(open_source(tmp_path / "model"), recipe("distill"))


def test_an_excluded_block_is_left_alone_by_learning(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    chosen = replace(recipe("optq"), exclude=("*.layers.0.*",))
    quantize(tmp_path / "model", tmp_path / "out", chosen)
    changed, same = restored(tmp_path / "model", tmp_path / "out"), original(tmp_path / "model")
    first, second = (f"model.layers.{block}.mlp.up_proj.weight" for block in (0, 1))
    assert torch.equal(changed.get_parameter(first), same.get_parameter(first))
    assert not torch.equal(changed.get_parameter(second), same.get_parameter(second))
