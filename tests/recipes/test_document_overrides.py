"""Overrides in a recipe: what they take from the recipe, what they change, and who wins."""

from typing import Any

import pytest
import yaml

from tersor.errors import RecipeError
from tersor.grids import IntegerGrid, ScaleFormat, Symmetry, nf4
from tersor.ranges import MeanSquaredError, Percentile
from tersor.recipes import Recipe, dump, parse

GROUPED = {"grid": "int", "bits": 4, "symmetry": "full", "granularity": "group", "group_size": 64}
INT8 = {"grid": "int", "bits": 8}


def read(**keys: Any) -> Recipe:
    return parse(yaml.safe_dump({"name": "mine", "weights": INT8, **keys}), "mine.yaml")


def refused(message: str, **keys: Any) -> None:
    with pytest.raises(RecipeError, match=rf"^mine\.yaml: {message}"):
        read(**keys)


def test_an_override_takes_what_it_leaves_out_from_the_recipe() -> None:
    recipe = read(
        weights=GROUPED,
        activations=INT8,
        range={"method": "mse"},
        overrides=[
            {"match": "down_proj", "weights": {"bits": 8}},
            {"match": "up_proj", "weights": {"group_size": 32, "symmetry": "none"}},
            {"match": "gate_proj", "range": {"method": "percentile"}},
            {"match": "o_proj", "activations": {"symmetry": "none"}},
        ],
    )
    base = recipe.scheme
    down, up, gate, o = (
        recipe.treatment(name) for name in ("down_proj", "up_proj", "gate_proj", "o_proj")
    )
    assert down.scheme is not None
    assert down.scheme.weights.grid == IntegerGrid(8, Symmetry.FULL)
    assert (down.scheme.weights.group_size, down.range) == (64, MeanSquaredError())
    assert down.scheme.activations == base.activations
    assert up.scheme is not None
    assert up.scheme.weights.grid == IntegerGrid(4, Symmetry.NONE)
    assert up.scheme.weights.group_size == 32
    assert (gate.scheme, gate.range) == (base, Percentile())
    assert o.scheme is not None
    assert o.scheme.weights == base.weights
    assert o.scheme.activations is not None
    assert o.scheme.activations.tensor.grid == IntegerGrid(8, Symmetry.NONE)
    assert parse(dump(recipe), "again") == recipe


def test_another_grid_or_granularity_does_not_inherit_what_belongs_to_the_old_one() -> None:
    recipe = read(
        weights=GROUPED,
        overrides=[
            {"match": "a", "weights": {"grid": "nf4"}},
            {"match": "b", "weights": {"granularity": "channel"}},
            {"match": "c", "weights": {"grid": "fp4", "group_size": 32, "scale": "e8m0"}},
            {"match": "d", "weights": {"grid": "int"}},
        ],
    )
    a, b, c, d = (recipe.treatment(name).scheme for name in "abcd")
    assert a is not None
    assert (a.weights.grid, a.weights.group_size) == (nf4(), 64)
    assert b is not None
    assert (b.weights.grid, b.weights.group_size) == (IntegerGrid(4, Symmetry.FULL), None)
    assert c is not None
    assert (c.weights.group_size, c.weights.scale_format) == (32, ScaleFormat.E8M0)
    assert d == recipe.scheme
    assert parse(dump(recipe), "again") == recipe
    back = read(
        weights={"grid": "fp4", "granularity": "group", "group_size": 32, "scale": "e8m0"},
        overrides=[{"match": "a", "weights": {"grid": "int", "bits": 8, "granularity": "channel"}}],
    )
    assert str(back.treatment("a").scheme) == "W8A16: int8 per channel"
    refused(
        "override 'a': grid int needs bits",
        weights={"grid": "nf4"},
        overrides=[{"match": "a", "weights": {"grid": "int"}}],
    )


def test_an_override_may_take_the_activations_away_or_bring_them() -> None:
    without = read(activations=INT8, overrides=[{"match": "a", "activations": None}])
    scheme = without.treatment("a").scheme
    assert scheme is not None
    assert scheme.activations is None
    assert parse(dump(without), "again") == without
    brought = read(overrides=[{"match": "a", "activations": INT8}])
    scheme = brought.treatment("a").scheme
    assert scheme is not None
    assert scheme.activations is not None
    assert brought.treatment("b").scheme == brought.scheme
    assert parse(dump(brought), "again") == brought


def test_the_last_override_that_matches_wins() -> None:
    recipe = read(
        overrides=[
            {"match": "*", "weights": {"bits": 8}},
            {"match": "down_proj", "weights": {"bits": 2}},
            {"match": "re:.*layers.0", "skip": True},
        ]
    )
    found = [
        recipe.treatment(name).scheme
        for name in ("layers.0.down_proj", "layers.1.down_proj", "layers.1.up_proj")
    ]
    assert [None if s is None else s.weights.grid.bits for s in found] == [None, 2, 8]


def test_skip_stands_alone() -> None:
    for extra in ({"weights": {"bits": 8}}, {"range": {"method": "mse"}}, {"activations": None}):
        refused(
            "override 'a': skip excludes all other keys",
            overrides=[{"match": "a", "skip": True, **extra}],
        )
    recipe = read(overrides=[{"match": "a", "skip": False, "weights": {"bits": 8}}])
    assert recipe.treatment("a").scheme is not None


def test_an_override_that_makes_no_sense_is_named() -> None:
    for entry, message in [
        ({"weights": {"bits": 7}}, "integers of 7 bits"),
        ({"weights": {"bits": True}}, "weights.bits: input should be a valid integer"),
        ({"activations": {}}, "activations.grid: field required"),
        ({"range": {"method": "mse", "steps": True}}, "range.steps must be a whole number"),
    ]:
        refused(f"override 'a': {message}", overrides=[{"match": "a", **entry}])
