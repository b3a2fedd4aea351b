"""A GGUF file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.gguf.writing.file import GGUFFileWriter
from tersor.checkpoints.source import GGUF_MAGIC, Source, TensorInfo


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
        self,
        directory: Path,
        expected: Sequence[TensorInfo],
        config: Mapping[str, Any],
        source: Source,
    ) -> GGUFFileWriter:
        """Raises :class:`~tersor.errors.SchemeError` for what such files cannot say."""
        return GGUFFileWriter(directory / self.file, expected, config, source)

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """Nothing: the file's own header, which comes before the tensors, has said all of it."""


GGUF_FILE = GgufFile()
