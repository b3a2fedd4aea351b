"""Presets shipped with the package, and recipes in whatever form they are given."""

from collections.abc import Mapping
from functools import cache
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from reprlib import repr as clipped
from typing import Any

from tersor.errors import OptionError, RecipeError
from tersor.options import nearest
from tersor.recipes.catalogue import FOLDER, Preset, known_presets, preset_kinds
from tersor.recipes.document import parse, recipe_from_dict
from tersor.recipes.recipe import Recipe

AnyRecipe = str | PathLike[str] | Mapping[str, Any] | Recipe
"""A preset's name, a YAML file, YAML text, the mapping that it describes, or the value."""


@cache
def _presets() -> Mapping[str, Traversable]:
    files = [file for room in FOLDER.iterdir() if room.is_dir() for file in room.iterdir()]
    return {f.name.removesuffix(".yaml"): f for f in files if f.name.endswith(".yaml")}


def preset_names() -> tuple[str, ...]:
    """Names of all presets, sorted."""
    return tuple(sorted(_presets()))


def preset_text(name: str) -> str:
    """YAML of a preset, whose name may be written ``W4_ASYM``.

    Raises :class:`RecipeError` with a suggestion if there is none.
    """
    plain = name.casefold().replace("_", "-")
    found = next((f for n, f in _presets().items() if n.replace("_", "-") == plain), None)
    if found is None:
        hint = nearest(name.casefold(), preset_names()) or f"; known: {known_presets()}"
        raise RecipeError(f"no recipe {name!r}{hint}")
    return found.read_text(encoding="utf-8")


def list_presets() -> tuple[Preset, ...]:
    """Every preset with what it is for and costs, by kind, most used first."""
    return tuple(
        Preset(name, kind, of.use, load_recipe(name).description, cost.time, cost.kl)
        for kind, of in preset_kinds().items()
        for name, cost in of.presets.items()
    )


def load_recipe(recipe: AnyRecipe) -> Recipe:
    """A recipe by a preset's name, from a YAML file, from YAML text, or from a mapping.

    What exists as a file, or ends in ``.yaml`` or ``.yml``, is a file. What has several lines, a
    brace or a colon with a space is YAML. Anything else is a name, in small letters or capitals.

    Raises :class:`RecipeError` naming the file or key, :class:`~tersor.errors.OptionError` for what
    is none of these.
    """
    return known_recipe("recipe", recipe)


def known_recipe(option: str, value: Any) -> Recipe:
    """The same for what was given as ``option``, which errors name."""
    if isinstance(value, Recipe):
        return value
    if isinstance(value, Mapping):
        return recipe_from_dict(value, "recipe given as a mapping")
    if not isinstance(value, (str, PathLike)) or not str(value):
        raise OptionError(
            option, f"must be a preset, a file, YAML or a mapping, not {clipped(value)}"
        )
    text, path = str(value), Path(value)
    if _is_file(path) or (path.suffix in (".yaml", ".yml") and "\n" not in text):
        return _from_file(path)
    if "\n" in text or "{" in text or ": " in text:
        return parse(text, "recipe given as text")
    return parse(preset_text(text), f"preset {text}")


def _from_file(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"no recipe file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read recipe {path}: {error}") from None
    return parse(text, str(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long a name, or a zero byte in it: the text of a recipe
        return False
