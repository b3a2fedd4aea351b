"""The list of presets is whole, and every error that shows it shows all of it."""

import pytest

from tersor.errors import RecipeError
from tersor.recipes import load_recipe, preset_kinds, preset_names
from tersor.recipes.catalogue import FOLDER


def test_every_preset_is_listed_under_its_folder() -> None:
    folders = {
        room.name: {file.name.removesuffix(".yaml") for file in room.iterdir()}
        for room in FOLDER.iterdir()
        if room.is_dir()
    }
    assert {name: set(kind.presets) for name, kind in preset_kinds().items()} == folders


def test_kinds_and_presets_say_what_they_cost() -> None:
    for name, kind in preset_kinds().items():
        assert kind.use.endswith("."), name
        for preset, cost in kind.presets.items():
            assert cost.time, preset
            assert cost.kl is None or cost.kl > 0, preset


def test_presets_said_to_read_no_text_do_not() -> None:
    for kind in preset_kinds().values():
        for preset in kind.presets:
            reads = load_recipe(preset).needs_calibration
            assert reads != ("No text is read" in kind.use), preset


def test_an_unknown_name_is_answered_with_all_names() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("zzzzzz")
    said = str(caught.value).removeprefix("no recipe 'zzzzzz'; known: ")
    kinds = dict(kind.split(": ") for kind in said.split("; "))
    assert list(kinds) == list(preset_kinds())
    assert sorted(", ".join(kinds.values()).split(", ")) == list(preset_names())


def test_capitals_do_not_hide_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean 'w4-asym'"):
        load_recipe("W4-ASMY")
