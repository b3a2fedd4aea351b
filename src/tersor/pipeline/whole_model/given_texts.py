"""The texts that a run is given, opened and held against its recipe before any work."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tersor.calibration.text import TextFile, calibration_files, open_text
from tersor.errors import OptionError
from tersor.recipes import Recipe, refuse_other_texts


def given_texts(recipe: Recipe, paths: Sequence[Path]) -> list[TextFile]:
    """The files, or the mixture that comes with tersor; none for a recipe that reads nothing.

    Files are called by their names, and those that have one in common by as much of their
    directories as tells them apart.

    Raises :class:`~tersor.errors.TextError` for a file that cannot be read, and for texts that are
    not those that the recipe was made with.
    """
    if not recipe.needs_calibration:
        return []
    names = _names(paths)
    files = [replace(open_text(path), name=names[path]) for path in paths] or calibration_files()
    if recipe.made is not None:  # whole files are read for it
        refuse_other_texts(recipe.made, [file.identity for file in files], recipe.name)
    return files


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for every path, another for every other file."""
    # A link has a name of its own, so links are not followed.
    parts = {path: Path(os.path.abspath(path)).parts for path in paths}  # noqa: PTH100
    found = {}
    for path, own in parts.items():
        others = [other for other in parts.values() if other != own]
        length = next(n for n in range(1, len(own) + 1) if own[-n:] not in [o[-n:] for o in others])
        found[path] = "/".join(own[-length:])
    return found


def refuse_texts(recipes: Sequence[Recipe], paths: Sequence[Path]) -> None:
    """Refuse texts that none of the recipes reads, and all that :func:`given_texts` refuses.

    Raises :class:`~tersor.errors.OptionError` for the former.
    """
    if paths and not any(recipe.needs_calibration for recipe in recipes):
        names = ", ".join(repr(recipe.name) for recipe in recipes)
        raise OptionError("calibration", f"has no effect: recipe {names} reads no text")
    for recipe in recipes:
        given_texts(recipe, paths)
