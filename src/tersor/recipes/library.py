"""Presets shipped with the package, and recipes from files."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tersor.errors import RecipeError
from tersor.options import did_you_mean, one_path
from tersor.recipes.document import parse
from tersor.recipes.recipe import Recipe


@cache
def _presets() -> Mapping[str, Traversable]:
    rooms = (resources.files("tersor.recipes") / "presets").iterdir()
    files = [file for room in rooms if room.is_dir() for file in room.iterdir()]
    return {f.name.removesuffix(".yaml"): f for f in files if f.name.endswith(".yaml")}


def preset_names() -> tuple[str, ...]:
    """Names of all presets, sorted."""
    return tuple(sorted(_presets()))


def preset_text(name: str) -> str:
    """YAML of a preset. Raises :class:`RecipeError` with a suggestion if there is none."""
    if name not in _presets():
        raise RecipeError(f"no recipe {name!r}{did_you_mean(name, preset_names())}")
    return _presets()[name].read_text(encoding="utf-8")


def load_recipe(name_or_file: str | Path) -> Recipe:
    """A preset by name, or a recipe from a YAML file.

    Anything that ends in ``.yaml`` or ``.yml`` or exists as a file is a file. Raises
    :class:`RecipeError` naming the file or key.
    """
    path = one_path("recipe", name_or_file)
    if path.suffix not in (".yaml", ".yml") and not _is_file(path):
        return parse(preset_text(str(name_or_file)), f"preset {name_or_file}")
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
    except OSError:  # too long a name, as when somebody passes the text of a recipe
        return False
