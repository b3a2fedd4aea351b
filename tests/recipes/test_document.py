"""Recipes ⇄ YAML: what people may write, what they may not, and that nothing is lost."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from every_scheme import LINEARS
from tersor.errors import RecipeError
from tersor.grids import (
    FloatGrid,
    Granularity,
    IntegerGrid,
    Symmetry,
    fp4,
    kmeans,
    log2,
    nf4,
)
from tersor.grids.document import scheme_from_dict
from tersor.ranges import (
    Entropy,
    ImportanceWeighted,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
)
from tersor.recipes import (
    Calibration,
    Override,
    Recipe,
    dump,
    parse,
)

MINIMAL: dict[str, Any] = {"name": "mine", "weights": {"grid": "int", "bits": 4}}
GROUPED = {"grid": "int", "bits": 4, "symmetry": "full", "granularity": "group", "group_size": 64}
INT8 = {"grid": "int", "bits": 8}


def read(**changes: Any) -> Recipe:
    """A minimal recipe with some keys changed."""
    return parse(yaml.safe_dump({**MINIMAL, **changes}), "mine.yaml")


def refused(message: str, **changes: Any) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read(**changes)
    assert str(caught.value).startswith("mine.yaml: ")
    assert "\n" not in str(caught.value)


# What may be left out


def test_defaults() -> None:
    assert read() == Recipe(
        name="mine",
        description="",
        scheme=scheme_from_dict({"weights": {"grid": "int", "bits": 4}}),
    )
    weights = read().scheme.weights
    assert weights.grid == IntegerGrid(4, Symmetry.RESTRICTED)
    assert weights.granularity is Granularity.CHANNEL
    recipe = read(activations=INT8)
    assert recipe.scheme.activations is not None
    assert recipe.scheme.activations.dynamic
    assert recipe.scheme.activations.tensor.granularity is Granularity.TOKEN


@pytest.mark.parametrize(
    ("document", "grid"),
    [
        ({"grid": "int", "bits": 3, "symmetry": "none"}, IntegerGrid(3, Symmetry.NONE)),
        (
            {"grid": "int", "bits": 2, "symmetry": "signed_scale"},
            IntegerGrid(2, Symmetry.SIGNED_SCALE),
        ),
        ({"grid": "nf4"}, nf4()),
        ({"grid": "nf4", "bits": 4}, nf4()),
        ({"grid": "fp4"}, fp4()),
        ({"grid": "log2", "bits": 3}, log2(3)),
        ({"grid": "kmeans", "bits": 3}, kmeans(3)),
        ({"grid": "fp8_e4m3"}, FloatGrid("fp8_e4m3")),
        ({"grid": "fp8_e5m2", "bits": 8}, FloatGrid("fp8_e5m2")),
    ],
    ids=str,
)
def test_grids(document: dict[str, Any], grid: object) -> None:
    assert read(weights=document).scheme.weights.grid == grid


def test_everything_at_once() -> None:
    recipe = read(
        description="All of it: ä, 量化.",
        weights={**GROUPED, "symmetry": "none"},
        activations={**INT8, "granularity": "tensor", "dynamic": False},
        range={"method": "percentile", "share": 0.99},
        activation_range={"method": "entropy"},
        rounding="nearest",
        include=["lm_head"],
        exclude=["re:.*gate", "*.3.*"],
        overrides=[{"match": "v_proj", "skip": True}],
        calibration={"tokens": 100, "window": 10},
        seed=7,
    )
    assert recipe.description == "All of it: ä, 量化."
    assert recipe.range == Percentile(0.99)
    assert recipe.activation_range == Entropy()
    assert (recipe.include, recipe.exclude) == (("lm_head",), ("re:.*gate", "*.3.*"))
    assert recipe.calibration == Calibration(100, 10)
    assert recipe.seed == 7
    assert recipe.treatment("layers.0.v_proj").scheme is None
    assert parse(dump(recipe), "again") == recipe


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wieghts": {}}, "unknown key 'wieghts'; did you mean 'weights'"),
        ({"weights": {**GROUPED, "bit": 4}}, "unknown key 'weights.bit'; did you mean 'bits'"),
        (
            {"activations": {**INT8, "dynamc": True}},
            "unknown key 'activations.dynamc'; did you mean 'dynamic'",
        ),
        (
            {"range": {"method": "mse", "step": 3}},
            "range: unknown key 'step'; did you mean 'steps'",
        ),
        (
            {"calibration": {"token": 3}},
            "unknown key 'calibration.token'; did you mean 'tokens'",
        ),
        (
            {"overrides": [{"match": "a", "skipp": True}]},
            r"unknown key 'overrides\.0\.skipp'; did you mean 'skip'",
        ),
        (
            {"overrides": [{"match": "a", "weights": {"group": 3}}]},
            "override 'a': unknown key 'weights.group'; did you mean 'group_size'",
        ),
        (
            {"overrides": [{"match": "a", "range": {"methd": "mse"}}]},
            "override 'a': range.method None unknown",
        ),
        ({"zzzzz": 1}, "unknown key 'zzzzz'; known: name, description, weights"),
        # A misspelt key also leaves the right one missing: the misspelling is named.
        (
            {"weights": {"gird": "int", "bits": 4}},
            "unknown key 'weights.gird'; did you mean 'grid'",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_unknown_keys(changes: dict[str, Any], message: str) -> None:
    refused(message, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 4}, "name: input should be a valid string"),
        ({"name": None}, "name: input should be a valid string"),
        ({"description": ["a"]}, "description: input should be a valid string"),
        ({"weights": None}, "weights: "),
        ({"weights": "w4"}, "weights: "),
        ({"weights": [GROUPED]}, "weights: "),
        ({"weights": {}}, "weights.grid: field required"),
        ({"weights": {"grid": "int4"}}, "weights.grid: no grid 'int4'; did you mean 'int'"),
        ({"weights": {"grid": ["int"]}}, "weights.grid: "),
        ({"weights": {**GROUPED, "bits": "4"}}, "weights.bits: input should be a valid integer"),
        ({"weights": {**GROUPED, "bits": 4.0}}, "weights.bits: input should be a valid integer"),
        ({"weights": {**GROUPED, "bits": True}}, "weights.bits: input should be a valid integer"),
        (
            {"weights": {**GROUPED, "group_size": True}},
            "weights.group_size: input should be a valid",
        ),
        ({"weights": {**GROUPED, "group_size": 1}}, "weights.group_size: input should be greater"),
        ({"weights": {**GROUPED, "group_size": -64}}, "weights.group_size: "),
        (
            {"weights": {**GROUPED, "symmetry": "symmetric"}},
            "weights.symmetry: input should be 'none'",
        ),
        ({"weights": {**GROUPED, "granularity": "row"}}, "weights.granularity: "),
        ({"weights": {**GROUPED, "scale": "fp8"}}, "weights.scale: "),
        ({"activations": True}, "activations: "),
        ({"activations": {**INT8, "dynamic": "yes"}}, "activations.dynamic: .*boolean"),
        ({"activations": {**INT8, "dynamic": 1}}, "activations.dynamic: .*boolean"),
        ({"range": "mss"}, "range.method 'mss' unknown; did you mean 'mse'"),
        ({"range": None}, "range must be a method or a mapping, not None"),
        ({"range": {1: 2}}, "range"),
        ({"rounding": "gptqq"}, "rounding.method 'gptqq' unknown; did you mean 'gptq'"),
        ({"include": "lm_head"}, "include: input should be a valid tuple"),
        ({"include": [1]}, r"include\.0: input should be a valid string"),
        ({"include": [["lm_head"]]}, r"include\.0: "),
        ({"exclude": {"a": 1}}, "exclude: "),
        ({"exclude": [""]}, "a module pattern is empty"),
        ({"exclude": ["re:["]}, r"pattern 're:\[' is no regular expression"),
        ({"overrides": {"match": "a"}}, "overrides: "),
        ({"overrides": ["a"]}, r"overrides\.0: "),
        ({"overrides": [{}]}, r"overrides\.0\.match: field required"),
        ({"overrides": [{"match": "re:*"}]}, "no regular expression"),
        ({"overrides": [{"match": "a", "skip": "no"}]}, r"overrides\.0\.skip: .*boolean"),
        ({"overrides": [{"match": "a", "weights": [1]}]}, r"overrides\.0\.weights: "),
        ({"calibration": 100}, "calibration: "),
        ({"calibration": {"tokens": 1}}, "calibration.tokens: "),
        ({"seed": -1}, "seed: input should be greater"),
        ({"seed": 2**64}, "seed: input should be less"),
        ({"calibration": {"tokens": True}}, "calibration.tokens: input should be a valid integer"),
        ({"calibration": {"window": 1}}, "calibration.window: "),
        ({"seed": "x"}, "seed: input should be a valid integer"),
        ({"seed": True}, "seed: input should be a valid integer"),
        ({"seed": 0.5}, "seed: input should be a valid integer"),
        ({1: 2}, "unknown key|keys should be strings"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_wrong_types(changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse(yaml.safe_dump({**MINIMAL, **changes}), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"grid": "int"}, "grid int needs bits"),
        ({"grid": "kmeans"}, "grid kmeans needs bits"),
        ({"grid": "int", "bits": 7}, "integers of 7 bits are not supported; use one of 2, 3"),
        ({"grid": "log2", "bits": 8}, "log2 with 8 bits is not supported"),
        ({"grid": "kmeans", "bits": 9}, "codebook kmeans: 0 levels, 9 bits"),
        ({"grid": "nf4", "bits": 3}, "grid nf4 has 4 bits, not 3"),
        ({"grid": "fp8_e4m3", "bits": 4}, "grid fp8_e4m3 has 8 bits, not 4"),
        ({"grid": "nf4", "symmetry": "none"}, "symmetry belongs to grid int, not to nf4"),
        ({"grid": "nf4", "granularity": "group"}, "group_size belongs to granularity 'group'"),
        ({"grid": "nf4", "group_size": 64}, "group_size belongs to granularity 'group'"),
        ({"grid": "nf4", "granularity": "token"}, "weights have no tokens"),
        ({"grid": "nf4", "scale": "e8m0"}, "scale e8m0 belongs to grid fp4, not nf4"),
        ({"grid": "int", "bits": 8, "scale": "e4m3"}, "scale e4m3 belongs to grid fp4, not int8"),
    ],
    ids=str,
)
def test_parts_that_do_not_fit(weights: dict[str, Any], message: str) -> None:
    refused(message, weights=weights)


def test_activations_that_do_not_fit() -> None:
    refused("per token is dynamic", activations={**INT8, "dynamic": False})
    refused("not channel", activations={**INT8, "granularity": "channel"})


@pytest.mark.parametrize("text", ["", "- w4", "weights: [", "!!python/object:os.system {}"])
def test_what_is_no_recipe_names_the_file(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^mine\.yaml is not "):
        parse(text, "mine.yaml")


def test_bombs_are_harmless_wherever_they_lie() -> None:
    lines = ["a0: &a0 lol"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    for place in (
        "name: *a39",
        "weights: *a39",
        "weights: {grid: *a39}",
        "weights: {grid: int, bits: *a39}",
        "weights: {grid: nf4}\nrange: {method: *a39}",
        "weights: {grid: nf4}\nrange: {method: mse, steps: *a39}",
        "weights: {grid: nf4}\ninclude: *a39",
        "weights: {grid: nf4}\noverrides: *a39",
        "weights: {grid: nf4}\noverrides: [{match: x, weights: {grid: *a39}}]",
        "weights: {grid: nf4}\ncalibration: *a39",
    ):
        head = "" if place.startswith("name") else "name: x\n"
        with pytest.raises(RecipeError) as caught:
            parse("\n".join(lines) + f"\n{head}{place}", "f")
        assert len(str(caught.value)) < 400


# Nothing is lost


RANGES = [
    MinMax(),
    Percentile(0.97),
    MeanSquaredError(7, 0.3),
    ImportanceWeighted(),
    Entropy(100, 3),
    MovingAverage(0.5),
]
schemes = st.sampled_from([s for s in LINEARS if getattr(s.weights.grid, "signed", True)])
ranges = st.sampled_from(RANGES)
# PyYAML writes the line ends that only Unicode knows as spaces.
characters = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
texts = st.text(characters | st.just("\n"), max_size=40)
words = st.text(characters, min_size=1, max_size=20)
printed = st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\:")
names = st.text(printed, max_size=20).map(lambda name: f"x{name}x")
overrides = st.builds(Override, words.map(lambda w: f"x{w}"), schemes, ranges)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Recipe,
        name=names,
        description=texts,
        scheme=schemes,
        range=ranges,
        activation_range=ranges,
        include=st.lists(words.map(lambda w: f"x{w}"), max_size=3).map(tuple),
        exclude=st.lists(words.map(lambda w: f"x{w}"), max_size=3).map(tuple),
        overrides=st.lists(overrides, max_size=3).map(tuple),
        calibration=st.builds(Calibration, st.integers(2, 10**9), st.integers(2, 10**6)),
        seed=st.integers(0, 2**64 - 1),
    ),
    st.booleans(),
)
def test_any_recipe_there_and_back(recipe: Recipe, skip: bool) -> None:
    if skip:
        skipped = Override("lm_head", None, recipe.range)
        recipe = Recipe(**{**recipe.__dict__, "overrides": (*recipe.overrides, skipped)})
    assert parse(dump(recipe), "again") == recipe
