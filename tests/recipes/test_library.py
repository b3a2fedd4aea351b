"""Presets, and recipes from files."""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from tersor.errors import OptionError, RecipeError
from tersor.grids import Granularity, IntegerGrid, ScaleFormat, Symmetry, nf4
from tersor.ranges import MeanSquaredError
from tersor.recipes import dump, load_recipe, parse, preset_names, preset_text

PROMISED = {
    "vanilla-int8",
    "vanilla-int8-asym",
    "int8-per-tensor",
    "w8a8",
    "w8a8-static",
    "w4",
    "w4-asym",
    "w3",
    "w2",
    "nf4",
    "log2",
    "fp8",
    "mxfp4",
    "nvfp4",
}


def test_the_promised_presets_exist() -> None:
    assert set(preset_names()) >= PROMISED
    assert list(preset_names()) == sorted(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_reads_and_recreates_itself(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.endswith(".")
    again = parse(dump(recipe), "again")
    assert again == recipe
    assert dump(again) == dump(recipe)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("vanilla-int8", "W8A16: int8 per channel"),
        ("vanilla-int8-asym", "W8A16: int8 asymmetric per channel"),
        ("int8-per-tensor", "W8A16: int8 per tensor"),
        ("w8a8", "W8A8: int8 per channel, activations int8 per token dynamic"),
        ("w8a8-static", "W8A8: int8 per channel, activations int8 asymmetric per tensor static"),
        ("w4", "W4A16: int4 per group 64"),
        ("w4-asym", "W4A16: int4 asymmetric per group 64"),
        ("w3", "W3A16: int3 asymmetric per group 64"),
        ("w2", "W2A16: int2 asymmetric per group 64"),
        ("nf4", "W4A16: nf4 per group 64"),
        ("log2", "W4A16: log2 per group 64"),
        ("fp8", "W8A8: fp8_e4m3 per channel, activations fp8_e4m3 per token dynamic"),
        ("mxfp4", "W4A16: fp4 per group 32"),
        ("nvfp4", "W4A16: fp4 per group 16"),
    ],
)
def test_what_the_presets_are(name: str, scheme: str) -> None:
    assert str(load_recipe(name).scheme) == scheme


def test_details_that_a_scheme_does_not_say() -> None:
    weights = {name: load_recipe(name).scheme.weights for name in ("w4", "mxfp4", "nvfp4")}
    assert weights["w4"].grid == IntegerGrid(4, Symmetry.FULL)
    assert weights["mxfp4"].scale_format is ScaleFormat.E8M0
    assert weights["nvfp4"].scale_format is ScaleFormat.E4M3
    assert isinstance(load_recipe("w4-mse").range, MeanSquaredError)
    assert load_recipe("w8a8-static").needs_calibration
    assert not load_recipe("w8a8").needs_calibration


def test_an_unknown_preset() -> None:
    for name, hint in [("w4-asmy", "did you mean 'w4-asym'"), ("zzzzzz", "known: integers: w4, ")]:
        with pytest.raises(RecipeError, match=f"no recipe '{name}'; {hint}"):
            load_recipe(name)
        with pytest.raises(RecipeError, match=hint):
            preset_text(name)


def test_a_file(tmp_path: Path) -> None:
    for name in ("mine.yaml", "mine.yml", "mine"):
        file = tmp_path / name
        file.write_text(
            "name: mine\nweights: {grid: nf4, granularity: group, group_size: 32}", encoding="utf-8"
        )
        for given in (file, str(file)):
            weights = load_recipe(given).scheme.weights
            assert (weights.grid, weights.group_size) == (nf4(), 32)
            assert weights.granularity is Granularity.GROUP


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe file .*none\.yaml"):
        load_recipe(tmp_path / "none.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(RecipeError, match="cannot read recipe"):
        load_recipe(folder)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: größe".encode("latin-1"))
    with pytest.raises(RecipeError, match="cannot read recipe"):
        load_recipe(latin)


MINE = {
    "name": "mine",
    "weights": {"grid": "int", "bits": 3, "granularity": "group", "group_size": 32},
    "overrides": [{"match": "o_proj", "skip": True}],
}


def test_every_form_of_a_recipe_is_the_same_value(tmp_path: Path) -> None:
    text = yaml.safe_dump(MINE)
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    recipe = load_recipe(MINE)
    assert (recipe.name, recipe.scheme.weights.group_size) == ("mine", 32)
    flow = yaml.safe_dump(MINE, default_flow_style=True, width=10_000).strip()
    assert "\n" not in flow
    for given in (text, flow, file, str(file), recipe, recipe.to_dict(), MappingProxyType(MINE)):
        assert load_recipe(given) == recipe


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_as_a_mapping_of_plain_json(name: str) -> None:
    recipe = load_recipe(name)
    assert load_recipe(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_text_of_a_preset_is_a_recipe() -> None:
    assert load_recipe(preset_text("w4")) == load_recipe("w4")


@pytest.mark.parametrize("name", ["W4", "W4_ASYM", "Rotate_GPTQ", "NF4"])
def test_names_in_capitals_and_with_underscores(name: str) -> None:
    found = load_recipe(name)
    assert found.name == name.lower().replace("_", "-")
    assert preset_text(name) == preset_text(found.name)


def test_a_file_goes_before_a_preset_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w4").write_text(yaml.safe_dump(MINE), encoding="utf-8")
    assert load_recipe("w4").name == "mine"


def test_what_is_wrong_in_a_text_or_a_mapping() -> None:
    wrong = MINE | {"rouding": "gptq"}
    for given, origin in ((wrong, "given as a mapping"), (yaml.safe_dump(wrong), "given as text")):
        with pytest.raises(RecipeError, match=f"^recipe {origin}: unknown key 'rouding'; did you"):
            load_recipe(given)
    with pytest.raises(RecipeError, match="recipe given as text is not YAML"):
        load_recipe("weights: {grid: int")
    with pytest.raises(RecipeError, match="recipe given as a mapping: "):
        load_recipe({1: 2})


@pytest.mark.parametrize("given", [3, None, ["w4"], "", b"w4"])
def test_what_is_no_form_of_a_recipe(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^recipe must be a preset, a file"):
        load_recipe(given)
