"""Models opened for the engine: what they hold, as it is stored, and without torch."""

from pathlib import Path

from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.checkpoints.source import Source


def open_as_stored(path: Path) -> Source:
    """A model directory, or a GGUF file. Raises :class:`~tersor.errors.SourceError`."""
    return StoredGGUF(path) if path.is_file() else open_directory(path)
