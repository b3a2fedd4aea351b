"""A recipe's own operations: what the command line's flags do to it, and what it needs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tersor.errors import RecipeError
from tersor.grids import Granularity, IntegerGrid, Symmetry, kmeans, log2
from tersor.ranges import ImportanceWeighted, MeanSquaredError, MinMax
from tersor.recipes import Override, Recipe, load_recipe

W4, NF4, FP8, MXFP4 = (load_recipe(name) for name in ("w4", "nf4", "fp8", "mxfp4"))


def test_with_bits() -> None:
    assert W4.with_bits(3).scheme.weights.grid == IntegerGrid(3, Symmetry.FULL)
    assert load_recipe("log2").with_bits(3).scheme.weights.grid == log2(3)
    assert load_recipe("kmeans").with_bits(2).scheme.weights.grid == kmeans(2)
    w4a8 = load_recipe("w8a8").with_bits(4)
    assert w4a8.scheme.name == "W4A8"
    assert W4.with_bits(3).scheme.weights.group_size == 64


def test_the_bits_a_grid_has_anyway_change_nothing() -> None:
    for recipe in (W4, NF4, MXFP4):
        assert recipe.with_bits(4) == recipe
    assert FP8.with_bits(8) == FP8


@pytest.mark.parametrize(
    ("recipe", "bits", "message"),
    [
        (NF4, 3, "bits 3 does not apply to recipe 'nf4': nf4 always has 4 bits"),
        (MXFP4, 8, "bits 8 does not apply to recipe 'mxfp4': fp4 always has 4 bits"),
        (FP8, 4, "bits 4 does not apply to recipe 'fp8': fp8_e4m3 always has 8 bits"),
        (W4, 7, "bits 7 does not apply to recipe 'w4': integers of 7 bits .* use one of 2, 3"),
        (W4, 0, "bits 0 does not apply"),
        (W4, -4, "bits -4 does not apply"),
        (load_recipe("log2"), 8, "bits 8 does not apply to recipe 'log2': .*use 2 to 6"),
        (load_recipe("kmeans"), 9, "bits 9 does not apply to recipe 'kmeans'"),
    ],
    ids=str,
)
def test_bits_that_do_not_apply(recipe: Recipe, bits: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.with_bits(bits)


def test_with_group_size() -> None:
    assert W4.with_group_size(128).scheme.weights.group_size == 128
    for name in ("vanilla-int8", "int8-per-tensor", "fp8", "nf4"):
        weights = load_recipe(name).with_group_size(32).scheme.weights
        assert (weights.granularity, weights.group_size) == (Granularity.GROUP, 32)
        weights = load_recipe(name).with_group_size(0).scheme.weights
        assert (weights.granularity, weights.group_size) == (Granularity.CHANNEL, None)
    assert MXFP4.scheme.weights.group_size == 32


@pytest.mark.parametrize(
    ("recipe", "size", "message"),
    [
        (MXFP4, 64, "group_size 64 does not apply to recipe 'mxfp4': .* has a fixed group size"),
        (load_recipe("nvfp4"), 0, "group_size 0 does not apply to recipe 'nvfp4'"),
        (W4, 1, "group_size 1 does not apply to recipe 'w4': group_size 1 makes no sense"),
        (W4, -1, "group_size -1 does not apply"),
    ],
    ids=str,
)
def test_group_sizes_that_do_not_apply(recipe: Recipe, size: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.with_group_size(size)


def test_as_asymmetric() -> None:
    assert W4.as_asymmetric().scheme.weights.grid == IntegerGrid(4, Symmetry.NONE)
    assert W4.as_asymmetric().as_asymmetric() == W4.as_asymmetric()
    for recipe in (NF4, FP8, MXFP4):
        with pytest.raises(RecipeError, match=f"asymmetric .* '{recipe.name}': .* no zero points"):
            recipe.as_asymmetric()


@pytest.mark.parametrize(
    "change",
    [lambda r: r.with_bits(8), lambda r: r.with_group_size(32), lambda r: r.as_asymmetric()],
)
def test_nothing_else_changes(change: Callable[[Recipe], Recipe]) -> None:
    recipe = load_recipe("w8a8").with_bits(4)
    changed = change(recipe)
    assert changed.scheme.activations == recipe.scheme.activations
    assert replace(changed, scheme=recipe.scheme) == recipe


def test_treatment() -> None:
    eight = Override("down_proj", W4.with_bits(8).scheme, MinMax())
    none = Override("lm_head", None, MinMax())
    recipe = replace(W4, overrides=(eight, none), range=MeanSquaredError())
    assert recipe.treatment("a.down_proj") is eight
    assert recipe.treatment("lm_head").scheme is None
    assert recipe.treatment("a.up_proj") == Override("a.up_proj", W4.scheme, MeanSquaredError())


def test_needs_calibration() -> None:
    static = load_recipe("w8a8-static")
    assert static.needs_calibration
    assert not W4.needs_calibration
    assert replace(W4, range=ImportanceWeighted()).needs_calibration
    assert replace(W4, overrides=(Override("a", static.scheme, MinMax()),)).needs_calibration
    skipped = Override("a", None, ImportanceWeighted())
    assert not replace(W4, overrides=(skipped,)).needs_calibration


def test_grids_with_minima_are_recipes_too() -> None:
    weights = {"grid": "affine", "bits": 4, "granularity": "group", "group_size": 32}
    recipe = load_recipe({"name": "mine", "weights": {**weights, "scale": "u6"}})
    assert str(recipe.scheme) == "W4A16: affine4 asymmetric per group 32, scales u6 · float16"
    with pytest.raises(RecipeError, match="scale s6 needs grid int"):
        load_recipe({"name": "mine", "weights": {**weights, "scale": "s6"}})


@pytest.mark.parametrize("steps", [{"training": "distill"}, {"rounding": "optq"}])
def test_what_training_would_get_wrong_is_refused(steps: dict[str, str]) -> None:
    for name in ("gguf-q4_0", "gguf-q2_k"):
        given = load_recipe(name).to_dict()
        del given["mixture"]
        for recipe in (given, {**given, "mixture": "q4_0"}):
            with pytest.raises(RecipeError, match="are not free; use rounding gptq"):
                load_recipe({**recipe, **steps})
