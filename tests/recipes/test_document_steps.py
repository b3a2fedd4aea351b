"""The calibrated steps of a recipe in YAML: rotation, scaling, rounding, correction, budget."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from tersor.calibration.precision import Precision
from tersor.errors import RecipeError
from tersor.ranges import MeanSquaredError, MinMax
from tersor.recipes import Calibration, Recipe, dump, load_recipe, parse
from tersor.rounding import Gptq, Nearest
from tersor.training import Distill, Optq, Qat
from tersor.transforms import Awq, BiasCorrection, ClipSearch, Rotation, SmoothQuant

MINIMAL: dict[str, Any] = {"name": "mine", "weights": {"grid": "int", "bits": 4}}
AIMED = Gptq(drift=True)
PLAIN = parse(yaml.safe_dump(MINIMAL), "mine.yaml")


def read(**changes: Any) -> Recipe:
    return parse(yaml.safe_dump({**MINIMAL, **changes}), "mine.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"rotation": Rotation()},
        {"rotation": Rotation(residual=False, seed=5)},
        {"scaling": Awq()},
        {"scaling": Awq(steps=7, duo=True, rows=33)},
        {"scaling": SmoothQuant(alpha=None)},
        {"scaling": SmoothQuant(alpha=0.75, steps=2, rows=1)},
        {"rounding": Gptq()},
        {"rounding": Gptq(damping=0.05, order="activation", block=64, drift=True)},
        {"correction": BiasCorrection()},
        {"calibration": Calibration(100, 50, Precision.BFLOAT16, 0.5)},
        {"calibration": Calibration(precision=Precision.FLOAT32)},
        {
            "rotation": Rotation(values=False),
            "scaling": Awq(),
            "rounding": Gptq(order="none"),
            "correction": BiasCorrection(),
        },
    ],
)
def test_there_and_back(changes: dict[str, Any]) -> None:
    recipe = replace(PLAIN, **changes)
    text = dump(recipe)
    assert parse(text, "again") == recipe
    assert dump(parse(text, "again")) == text


def test_clipping_by_outputs_goes_with_nearest_rounding_only() -> None:
    assert read(range="clip").needs_calibration
    for changes in (
        {"range": "clip", "rounding": "gptq"},
        {"overrides": [{"match": "*.q_proj", "range": "clip"}], "rounding": "optq"},
    ):
        with pytest.raises(RecipeError, match=r"'mine': range clip fits nearest rounding only"):
            read(**changes)
    with pytest.raises(RecipeError, match="range clip is for weights"):
        replace(PLAIN, activation_range=ClipSearch())


def test_steps_that_are_left_out_do_nothing() -> None:
    assert PLAIN.rotation is None
    assert PLAIN.scaling is None
    assert PLAIN.rounding == Nearest()
    assert PLAIN.correction is None
    assert not PLAIN.needs_calibration
    assert read(rotation=None, scaling=None) == PLAIN


def test_a_bare_name_will_do() -> None:
    recipe = read(rotation="random", scaling="awq", rounding="gptq", range="mse")
    assert recipe.rotation == Rotation()
    assert recipe.scaling == Awq()
    assert recipe.rounding == Gptq()
    assert recipe.range == MeanSquaredError()
    override = {"match": "o_proj", "range": "minmax"}
    assert read(range="mse", overrides=[override]).overrides[0].range == MinMax()


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"rotation": "random"}, False),
        ({"scaling": "awq"}, True),
        ({"rounding": "gptq"}, True),
        ({"correction": "bias"}, True),
        ({"range": "importance"}, True),
        ({"overrides": [{"match": "x", "range": "importance"}]}, True),
        ({"overrides": [{"match": "x", "skip": True}]}, False),
    ],
)
def test_what_needs_calibration(changes: dict[str, Any], needed: bool) -> None:
    assert read(**changes).needs_calibration is needed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounding": None}, "rounding must be a method or a mapping, not None"),
        ({"rounding": 5}, "rounding must be a method or a mapping, not 5"),
        ({"rounding": {}}, "rounding.method None unknown"),
        ({"rounding": {"method": "gptq", 1: 2}}, "rounding: unknown key 1"),
        ({"rounding": {"method": "gptq", "damping": float("nan")}}, "rounding gptq: damping nan"),
        ({"rounding": {"method": "gptq", "order": "up"}}, "rounding gptq: no order 'up'"),
        ({"rounding": {"method": "gptq", "block": 0}}, "rounding gptq: block 0"),
        ({"rotation": False}, "rotation must be a method or a mapping, not False"),
        ({"rotation": {"method": "random", "values": 1}}, "rotation.values must be true or false"),
        (
            {"rotation": {"method": "random", "values": False, "residual": False}},
            "rotation: neither residual nor values",
        ),
        ({"scaling": "awqq"}, "scaling.method 'awqq' unknown; did you mean 'awq'?"),
        ({"scaling": {"method": "awq", "alpha": 0.5}}, "scaling: unknown key 'alpha'"),
        ({"scaling": {"method": "smoothquant", "alpha": 1.5}}, "smoothquant: alpha 1.5"),
        ({"range": None}, "range must be a method or a mapping, not None"),
        ({"overrides": [{"match": "x", "range": {}}]}, "override 'x': range.method None unknown"),
        ({"correction": "bais"}, "correction.method 'bais' unknown; did you mean 'bias'?"),
        ({"correction": True}, "correction must be a method or a mapping, not True"),
        ({"calibration": {"precision": "fp16"}}, "calibration.precision: input should be 'auto'"),
        ({"calibration": {"memory": 0}}, "calibration.memory: "),
        ({"calibration": {"memory": float("inf")}}, "calibration.memory: "),
        ({"calibration": {"memory": float("nan")}}, "calibration.memory: "),
        ({"calibration": {"memory": True}}, "calibration.memory: "),
        ({"calibration": {"memory": "4"}}, "calibration.memory: "),
        ({"calibration": {"memori": 4}}, "unknown key 'calibration.memori'; did you mean 'memory'"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(**changes)
    assert str(caught.value).startswith(f"mine.yaml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "steps"),
    [
        ("gptq", {"rounding": Gptq()}),
        ("awq", {"scaling": Awq()}),
        ("awq-gptq", {"scaling": Awq(), "rounding": Gptq()}),
        ("smoothquant", {"scaling": SmoothQuant(alpha=None)}),
        ("rotate-gptq", {"rotation": Rotation(), "rounding": Gptq()}),
        ("imatrix", {}),
        ("gptaq", {"rounding": AIMED}),
        ("rotate-gptaq", {"rotation": Rotation(), "rounding": AIMED}),
        ("distill", {"rounding": AIMED, "training": Distill()}),
        ("qat", {"rounding": AIMED, "training": Qat()}),
        ("best", {"rotation": Rotation(), "rounding": AIMED, "training": Distill()}),
        ("optq", {"rounding": Optq()}),
    ],
)
def test_presets_take_the_steps_they_are_named_after(preset: str, steps: dict[str, Any]) -> None:
    recipe = load_recipe(preset)
    assert recipe.needs_calibration
    for step in ("rotation", "scaling", "rounding", "training"):
        assert getattr(recipe, step) == steps.get(step, getattr(PLAIN, step)), step
