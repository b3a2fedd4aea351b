"""What a model directory says of how it was made."""

from pathlib import Path

from tersor.checkpoints.files import read_json
from tersor.errors import TersorError

RECORDS = "tersor.json"


def recipe_of(directory: Path) -> str | None:
    """Name of the recipe that an artifact was made by; ``None`` for any other directory.

    Nothing is computed from it, so records that cannot be read are no error.
    """
    try:
        name = read_json(directory / RECORDS).get("recipe")
    except TersorError:
        return None
    return name if isinstance(name, str) else None
