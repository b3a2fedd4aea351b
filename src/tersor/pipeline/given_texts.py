"""The texts that a run is given, opened and held against its recipe before any work."""

from collections.abc import Sequence
from pathlib import Path

from tersor.calibration.text import TextFile, calibration_files, open_text
from tersor.recipes import Recipe, refuse_other_texts


def given_texts(recipe: Recipe, paths: Sequence[Path]) -> list[TextFile]:
    """The files, or the mixture that comes with tersor; none for a recipe that reads nothing.

    Raises :class:`~tersor.errors.TextError` for a file that cannot be read, and for texts that are
    not those that the recipe was made with.
    """
    if not recipe.needs_calibration:
        return []
    files = [open_text(path) for path in paths] or calibration_files()
    refuse_other_texts(recipe.made, [file.identity for file in files], recipe.name)
    return files
