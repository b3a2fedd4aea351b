"""A GGUF file: opened; nothing writes one yet."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.source import GGUF_MAGIC, Source, TensorInfo
from tersor.errors import SchemeError
from tersor.formats.containers.container import Writer

NOT_WRITTEN = "tersor reads GGUF files and does not write them"


class GgufFile:
    """See :class:`~tersor.formats.containers.container.Container`."""

    file = "model.gguf"

    def recognizes(self, path: Path) -> bool:
        """By its name, or its first bytes."""
        if not path.is_file():
            return False
        if path.suffix == ".gguf":
            return True
        try:
            with path.open("rb") as file:
                return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
        except OSError:
            return False

    def open(self, path: Path) -> Source:
        """Raises :class:`~tersor.errors.SourceError`."""
        return StoredGGUF(path)

    def writer(
        self, directory: Path, expected: Sequence[TensorInfo], config: Mapping[str, Any]
    ) -> AbstractContextManager[Writer]:
        """Raises :class:`SchemeError`."""
        raise SchemeError(NOT_WRITTEN)

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """Raises :class:`SchemeError`."""
        raise SchemeError(NOT_WRITTEN)


GGUF_FILE = GgufFile()
