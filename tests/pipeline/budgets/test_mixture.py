"""Choices as recipes: written, read, planned, they are the same choices, of the size foreseen."""

import random
from pathlib import Path

import pytest

from calibrating import save_model
from tersor.checkpoints.opening import open_source
from tersor.pipeline.budgets.limit import bits_of, planned_bytes
from tersor.pipeline.budgets.mixture import as_recipe
from tersor.pipeline.budgets.space import KEPT, Space, space_of
from tersor.pipeline.planning import make_plan
from tersor.recipes import Recipe, dump, load_recipe


def space(model: Path, recipe: Recipe, outside: bool = True) -> Space:
    source = open_source(model)
    return space_of(source, make_plan(source, recipe), "target_bits", outside=outside)


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt2", "gpt_neox"])
def test_a_recipe_plans_what_was_chosen(family: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_model(family, model)
    source = open_source(model)
    recipe = load_recipe("w4").with_group_size(16)
    there = space(model, recipe)
    labels = there.own_labels()
    weights = {module.module: module.weights for module in there.plan.modules()}
    draw = random.Random(1)
    for _ in range(3):
        choices = {m: label for b in there.bundles for label in [draw.choice(labels)] for m in b}
        choices |= {m: draw.choice([*there.outside_labels(), KEPT]) for m in there.outside}
        made = as_recipe(recipe, there.plan.architecture, there.schemes, choices, weights, "x")
        again = load_recipe(dump(made))
        assert again == made
        plan = make_plan(source, again)
        found = {m.module: m for m in plan.modules()}
        for module, label in choices.items():
            scheme = found[module].scheme
            assert (scheme and scheme.weights) == there.schemes.get(label), module
            assert found[module].stored_bytes == there.bytes_of(module, label)
        size = sum(there.bytes_of(module, label) for module, label in choices.items())
        assert plan.bytes == there.plan.bytes - planned_bytes(there) + size
        assert plan.bits_per_quantized_weight == pytest.approx(bits_of(there, choices))
        assert len(made.overrides) <= len(labels) * len({m.rpartition(".")[2] for m in choices})


def test_linears_that_engines_fuse_share_a_choice(tmp_path: Path) -> None:
    save_model("qwen3_moe", tmp_path / "model")
    there = space(tmp_path / "model", load_recipe("w4").with_group_size(16))
    bundles = [{m.rpartition(".")[2] for m in bundle} for bundle in there.bundles]
    assert bundles.count({"q_proj", "k_proj", "v_proj"}) == 2
    assert bundles.count({"o_proj"}) == 2
    assert bundles.count({"gate_proj", "up_proj", "down_proj"}) == 2
    assert len(bundles) == 6
    assert [len(bundle) for bundle in there.bundles if len(bundle) > 3] == [12, 12]
    assert there.outside == ("model.embed_tokens", "lm_head")


def test_a_tied_head_is_one_choice(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model", tie_word_embeddings=True)
    there = space(tmp_path / "model", load_recipe("w4").with_group_size(16))
    assert there.outside == ("model.embed_tokens",)


def test_what_the_recipe_decides_itself_is_no_choice(llama: Path) -> None:
    recipe = load_recipe(
        {
            "name": "mine",
            "weights": {"grid": "int", "bits": 4, "granularity": "group", "group_size": 16},
            "overrides": [
                {"match": "down_proj", "weights": {"bits": 8}},
                {"match": "re:.*layers.0.*q_proj", "skip": True},
            ],
            "exclude": ["lm_head"],
        }
    )
    there = space(llama, recipe)
    assert not any("down_proj" in module for module in there.modules)
    assert "model.layers.0.self_attn.q_proj" not in there.modules
    assert "model.layers.1.self_attn.q_proj" in there.modules
    assert there.outside == ("model.embed_tokens",)
    without = space(llama, recipe, outside=False)
    assert without.outside == ()


def test_groups_divide_where_the_recipes_own_do(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model")  # 64 and 160 columns
    there = space(tmp_path / "model", load_recipe("w4").with_group_size(32))
    nothing = {(module, label): 0.0 for module in there.modules for label in there.schemes}
    groups = {group.name: group for group in there.groups(nothing, list(there.schemes))}
    names = {name: {o.label for o in group.options} for name, group in groups.items()}
    assert "w4g64" in names["model.layers.0.self_attn.q_proj"]
    assert "w4g64" not in names["model.layers.0.mlp.down_proj"]
    assert "w4g32" in names["model.layers.0.mlp.down_proj"]
