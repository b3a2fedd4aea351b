"""What a plan decides, and that its sizes are those of the artifact."""

from dataclasses import replace
from pathlib import Path

import pytest

import tersor
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.errors import RecipeError, SchemeError
from tersor.pipeline.planning import Plan, make_plan
from tersor.recipes import Adjustments, Override, load_recipe
from tiny_models import FAMILIES, save_tiny, save_tokenizer


def plan_for(directory: Path, recipe: str = "w4", **adjustments: object) -> Plan:
    changed = Adjustments(**adjustments).apply(load_recipe(recipe))
    return make_plan(open_directory(directory), changed)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_output_is_written_once_and_every_tensor_is_planned(
    tmp_path: Path, family: str
) -> None:
    save_tiny(family, tmp_path)
    plan = plan_for(tmp_path, group_size=16)
    names = [info.name for info in plan.outputs()]
    assert len(names) == len(set(names))
    sources = [t.source.name for unit in plan.units for t in unit.tensors]
    assert sorted(sources) == sorted(open_directory(tmp_path).tensors)


def test_head_and_embeddings_stay_unless_included(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    kept = {m.module: m.reason for m in plan_for(tmp_path, group_size=16).modules() if m.reason}
    assert kept == {
        "model.embed_tokens": "embedding, not included",
        "lm_head": "head, not included",
    }
    plan = plan_for(tmp_path, group_size=16, include=("lm_head", "embed_tokens"))
    assert not any(module.reason for module in plan.modules())


def test_a_tied_head_cannot_be_included(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, tie_word_embeddings=True)
    with pytest.raises(RecipeError, match=r"tied to the embedding; include 'model.embed_tokens'"):
        plan_for(tmp_path, group_size=16, include=("lm_head",))


def test_patterns_that_match_nothing_are_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    with pytest.raises(RecipeError, match=r"--exclude 'o_prj' matches no module.*'o_proj'"):
        plan_for(tmp_path, exclude=("o_prj",))
    recipe = load_recipe("w4")
    override = Override("down_prj", None, recipe.range)
    with pytest.raises(RecipeError, match="override 'down_prj'"):
        make_plan(open_directory(tmp_path), replace(recipe, overrides=(override,)))


def test_nothing_left_to_quantize_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    with pytest.raises(RecipeError, match="nothing would be quantized"):
        plan_for(tmp_path, exclude=("*",))


def test_exclude_and_overrides(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    recipe = load_recipe("w4").with_group_size(16)
    eight = replace(load_recipe("vanilla-int8").scheme)
    overrides = (
        Override("down_proj", eight, recipe.range),
        Override("re:.*layers\\.0\\..*_proj", None, recipe.range),
    )
    plan = make_plan(open_directory(tmp_path), replace(recipe, overrides=overrides))
    schemes = {m.module: m.scheme for m in plan.modules()}
    assert schemes["model.layers.1.mlp.down_proj"] == eight
    assert schemes["model.layers.1.mlp.up_proj"] == recipe.scheme
    assert schemes["model.layers.0.mlp.down_proj"] is None
    config = plan.config({})["quantization_config"]
    assert config["format"] == "pack-quantized"
    assert len(config["config_groups"]) == 2


@pytest.mark.parametrize(
    ("family", "recipe", "group_size", "reason"),
    [
        ("llama", "w4", 24, "input columns are no multiple of group size 24"),
        ("llama", "nf4", 16, "no grid nf4"),
        ("gpt2", "w4", 16, "no transposed"),
    ],
)
def test_what_compressed_tensors_cannot_hold_goes_to_the_own_format(
    tmp_path: Path, family: str, recipe: str, group_size: int, reason: str
) -> None:
    save_tiny(family, tmp_path)
    plan = plan_for(tmp_path, recipe, group_size=group_size)
    assert plan.format == "tersor"
    assert any(reason in note for note in plan.notes)


def test_bits_per_weight_by_hand(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    plan = plan_for(tmp_path, group_size=32)
    # Per weight: 4 bits of code and 32 bits of scale (the model is float32) for every 32 weights.
    # Per matrix: 16 bytes of weight_shape.
    modules = list(plan.quantized())
    weights = sum(module.weights for module in modules)
    assert plan.bits_per_quantized_weight == pytest.approx(
        4 + 32 / 32 + 8 * 16 * len(modules) / weights
    )


def test_the_format_that_is_asked_for(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    model, groups = tmp_path / "model", {"recipe": "w4", "group_size": 16}
    made = tersor.quantize(model, tmp_path / "out", **groups, format="tersor")
    assert made.plan.format == "tersor"
    assert "--recipe recipe.yaml --format tersor" in (tmp_path / "out" / "README.md").read_text()
    again = tersor.quantize(model, tmp_path / "again", **groups)
    assert "--format" not in (tmp_path / "again" / "README.md").read_text()
    assert [one.digest for one in made.layers] == [one.digest for one in again.layers]


def test_a_format_that_cannot_hold_the_model_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    with pytest.raises(SchemeError, match="compressed-tensors cannot hold this model"):
        tersor.plan(tmp_path, "nf4", group_size=16, format="compressed-tensors")
