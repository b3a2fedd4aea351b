"""A GGUF file."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.checkpoints.gguf.header import examine_gguf_header
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.gguf.stored import StoredGGUF
from tersor.checkpoints.gguf.values import float_rows, refuse_unreadable_types
from tersor.checkpoints.gguf.writing.file import GGUFFileWriter
from tersor.checkpoints.scratch import scratch_directory
from tersor.checkpoints.source import GGUF_MAGIC, Source, TensorInfo
from tersor.errors import SourceError, TersorError


class GgufFile:
    """See :class:`~tersor.formats.containers.container.Container`."""

    file = "model.gguf"

    def claims(self, path: Path) -> bool:
        """By its name, or its first bytes."""
        return (path.suffix == ".gguf" and path.is_file()) or self.recognizes(path)

    def recognizes(self, path: Path) -> bool:
        """By its first bytes."""
        if not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
        except OSError:
            return False

    def problems(self, path: Path) -> list[TersorError]:
        """Of the header, and then of the values of all tensors that it places soundly."""
        header, found = examine_gguf_header(path)
        if not found:
            return []
        values = (_refused(path, tensor) for tensor in header.tensors.values())
        return [*found, *filter(None, values)]

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

    def overhead(
        self, expected: Sequence[TensorInfo], config: Mapping[str, Any], source: Source
    ) -> int:
        """Header and gaps, of a file without values that is made for a moment."""
        with scratch_directory() as scratch:
            writer = self.writer(scratch, expected, config, source)
            writer.discard()
            return (scratch / self.file).stat().st_size - writer.value_bytes

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """Nothing: the file's own header, which comes before the tensors, has said all of it."""


def _refused(path: Path, tensor: GGUFTensor) -> TersorError | None:
    """What is wrong with its values; nothing, if they are of a type that cannot be computed."""
    try:
        refuse_unreadable_types(path, iter([tensor]))
    except SourceError:
        return None
    for _, rows in float_rows(path, tensor, 0, prod(tensor.shape[:-1])):
        if not np.isfinite(rows).all():
            kind = BLOCK_TYPES[tensor.ggml_type].name
            return SourceError(f"{path}: tensor {tensor.name!r} ({kind}) holds NaN or infinity")
    return None


GGUF_FILE = GgufFile()
