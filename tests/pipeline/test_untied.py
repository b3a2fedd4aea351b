"""A rotation makes two tensors of a tied head: what they take, and how to have it otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calibrating import calibration_tokens, logits, quantize, save_model, small
from tersor.checkpoints.opening import open_source
from tersor.errors import RecipeError
from tersor.grids import Scheme
from tersor.pipeline.planning import Plan, make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.recipes import Adjustments, Override, Recipe, dump, load_recipe, parse
from tersor.recipes.recipe import MinMax

PAIR = ("model.embed_tokens", "lm_head")


def planned(model: Path, recipe: Recipe) -> Plan:
    return make_plan(prepared(open_source(model), recipe), recipe)


def schemes(plan: Plan) -> dict[str, Scheme | None]:
    return {module.module: module.scheme for module in plan.modules() if module.module in PAIR}


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tied") / "model"
    model = save_model("llama", directory, tie_word_embeddings=True)
    model.bfloat16().save_pretrained(directory)
    return directory


@pytest.mark.parametrize("name", ["rotate-gptq", "rotate-gptaq", "best"])
def test_both_take_what_they_took_together(tied: Path, name: str) -> None:
    recipe = small(name)
    assert recipe.untied is not None
    plan = planned(tied, recipe)
    assert schemes(plan) == dict.fromkeys(PAIR, Scheme(recipe.untied))
    together = sum(module.stored_bytes for module in plan.quantized() if module.module in PAIR)
    before = next(m for m in plan.modules() if m.module == PAIR[0]).weights * 2
    assert together < 1.1 * before
    assert any(
        "untied: model.embed_tokens and lm_head get int8 per channel" in n for n in plan.notes
    )
    assert parse(dump(recipe), "test") == recipe


def test_flags_and_overrides_go_before(tied: Path) -> None:
    recipe = small("rotate-gptq")
    neither = Adjustments(exclude=PAIR).apply(recipe)
    assert schemes(planned(tied, neither)) == dict.fromkeys(PAIR)
    assert not any("untied:" in note for note in planned(tied, neither).notes)
    four = Adjustments(include=("lm_head",)).apply(recipe)
    assert schemes(planned(tied, four))["lm_head"] == recipe.scheme
    assert any("untied: model.embed_tokens get" in note for note in planned(tied, four).notes)
    skipped = replace(recipe, overrides=(Override("lm_head", None, MinMax()),))
    assert schemes(planned(tied, skipped))["lm_head"] is None


def test_a_head_that_was_a_tensor_stays_as_it_is(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")
    assert schemes(planned(tmp_path / "model", small("rotate-gptq"))) == dict.fromkeys(PAIR)


def test_untied_belongs_to_a_rotation() -> None:
    recipe = load_recipe("rotate-gptq")
    with pytest.raises(RecipeError, match="untied belongs to a rotation"):
        replace(recipe, rotation=None)


@pytest.mark.parametrize("exclude", [(), ("embed_tokens",), PAIR], ids=["both", "head", "neither"])
def test_every_reader_here_reads_it(tied: Path, tmp_path: Path, exclude: tuple[str, ...]) -> None:
    """Also where schemes are mixed: transformers would decode all as the first says."""
    from transformers import AutoModelForCausalLM

    import tersor.hf

    assert tersor.hf
    out = tmp_path / "out"
    result = quantize(tied, out, Adjustments(exclude=exclude).apply(small("rotate-gptq")))
    tokens = calibration_tokens(tied)[:4]
    expected = logits(tersor.load(out, kernels=False), tokens)
    plain = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    # compressed-tensors multiplies codes and scales in bfloat16.
    assert float((logits(plain, tokens) - expected).norm() / expected.norm()) < 0.01
    fast = logits(tersor.load(out), tokens)
    assert float((fast - expected).norm() / expected.norm()) < 0.05
    refused = [str(reading) for reading in result.plan.readings() if not reading.reads]
    assert result.plan.format == ("compressed-tensors" if exclude else "tersor")
    assert all("--exclude model.embed_tokens" in line for line in refused) or exclude


def test_the_head_is_rounded_by_what_it_reads(tied: Path, tmp_path: Path) -> None:
    result = quantize(tied, tmp_path / "out", small("rotate-gptq"))
    records = {record.module: record for record in result.layers}
    head = records["lm_head"]
    assert head.tokens
    assert head.note == ""
    assert records["model.embed_tokens"].note == ""
    assert min(records[name].sqnr_db or 0 for name in PAIR) > 35
