"""What was given in the place of a model, by its files: said by its name, with the way out."""

from pathlib import Path

from tersor.checkpoints.files import reading
from tersor.checkpoints.mistaken.absent import nothing_there
from tersor.checkpoints.mistaken.directories import mistaken_directory
from tersor.checkpoints.mistaken.lone_files import mistaken_file
from tersor.errors import SourceError

__all__ = ["refuse_mistaken"]


def refuse_mistaken(path: Path) -> None:
    """Refuse what is neither a model directory nor a GGUF file.

    Names are looked at, and the first bytes of a lone file. A directory with ``config.json`` and
    weights under names that are read is taken for a model, whatever else it holds.

    Raises:
        SourceError: says what lies there instead, and what to do with it.
    """
    with reading(path):
        if path.is_dir():
            what = mistaken_directory(path)
        elif path.is_file():
            what = mistaken_file(path)
        elif path.exists():
            what = "not a regular file; give a model directory or a .gguf file"
        else:
            what = nothing_there(path)
    if what is not None:
        raise SourceError(f"{path}: {what}")
