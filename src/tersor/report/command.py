"""The command that makes an artifact again."""

import shlex
from collections.abc import Sequence

RECIPE = "recipe.yaml"


def quantize_command(source: str, texts: Sequence[str], flags: Sequence[str]) -> str:
    """For the directory in which the recipe, the model and the texts lie, by their names.

    ``texts``: none for the mixture that comes with tersor. ``flags``: what ``source`` must be
    opened with. Names are quoted for a shell.
    """
    words = ["tersor", "quantize", _name(source), "-o", "again", "--recipe", RECIPE]
    for text in texts:
        words += ["--calibration", _name(text)]
    return shlex.join([*words, *flags])


def _name(name: str) -> str:
    """A name that is no option."""
    return f"./{name}" if name.startswith("-") else name
