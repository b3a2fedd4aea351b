"""Flags of the command line on top of a recipe."""

import pytest

from tersor.errors import RecipeError
from tersor.grids import IntegerGrid, Symmetry
from tersor.recipes import Adjustments, load_recipe

W4 = load_recipe("w4")


def test_no_flags_no_change() -> None:
    assert Adjustments().apply(W4) == W4


def test_all_flags() -> None:
    flags = Adjustments(
        bits=3,
        group_size=32,
        asymmetric=True,
        include=("lm_head",),
        exclude=("re:.*gate",),
        tokens=100,
        seed=3,
    )
    start = load_recipe("optq")
    recipe = flags.apply(start)
    assert recipe.name == "optq"
    assert recipe.scheme.weights.grid == IntegerGrid(3, Symmetry.NONE)
    assert recipe.scheme.weights.group_size == 32
    assert (recipe.include, recipe.exclude) == (("lm_head",), ("re:.*gate",))
    assert (recipe.calibration.tokens, recipe.calibration.window) == (100, start.calibration.window)
    assert recipe.seed == 3


def test_a_seed_is_the_rotations_too() -> None:
    recipe = Adjustments(seed=7).apply(load_recipe("rotate-gptq"))
    assert recipe.rotation is not None
    assert (recipe.seed, recipe.rotation.seed) == (7, 7)


def test_patterns_are_added() -> None:
    once = Adjustments(include=("a",), exclude=("b",)).apply(W4)
    twice = Adjustments(include=("c",), exclude=("d",)).apply(once)
    assert (twice.include, twice.exclude) == (("a", "c"), ("b", "d"))


def test_zero_is_a_value() -> None:
    optq = Adjustments(seed=5).apply(load_recipe("optq"))
    recipe = Adjustments(group_size=0, seed=0).apply(optq)
    assert recipe.scheme.weights.group_size is None
    assert recipe.seed == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Adjustments(bits=7), "bits 7 does not apply to recipe 'w4'"),
        (Adjustments(exclude=("re:(",)), "no regular expression"),
        (Adjustments(tokens=100), "tokens has no effect: recipe 'w4' reads no text"),
        (Adjustments(window=64), "window has no effect: recipe 'w4' reads no text"),
        (Adjustments(seed=7), "seed has no effect: recipe 'w4' draws nothing"),
    ],
    ids=str,
)
def test_flags_that_do_not_apply(flags: Adjustments, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        flags.apply(W4)


def test_the_description_says_what_was_adjusted() -> None:
    recipe = load_recipe("w4")
    changed = Adjustments(bits=3, asymmetric=True, exclude=("o_proj", "re:x"))
    said = f"{recipe.description} Adjusted: bits 3; asymmetric; exclude o_proj, re:x."
    assert changed.apply(recipe).description == said
    assert Adjustments().apply(recipe) == recipe


def test_one_pattern_is_a_list_of_one() -> None:
    assert Adjustments(include="lm_head").apply(W4).include == ("lm_head",)
