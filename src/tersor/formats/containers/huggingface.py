"""A directory as transformers reads it: ``config.json``, safetensors, and what lies beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_json, write_text
from tersor.checkpoints.huggingface.directory import open_directory
from tersor.checkpoints.huggingface.older_names import with_older_names
from tersor.checkpoints.output.directory import ModelDirectory
from tersor.checkpoints.output.writer import ShardWriter, header_bytes
from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import TersorError


class HuggingFaceDirectory(ModelDirectory):
    """See :class:`~tersor.formats.containers.container.Container`."""

    def claims(self, path: Path) -> bool:
        """As :meth:`recognizes`."""
        return self.recognizes(path)

    def problems(self, path: Path) -> list[TersorError]:
        """None but what :meth:`open` raises."""
        return []

    def open(self, path: Path) -> Source:
        """Raises :class:`~tersor.errors.SourceError` for what is no model, by its name."""
        return open_directory(path)

    def writer(
        self,
        directory: Path,
        expected: Sequence[TensorInfo],
        config: Mapping[str, Any],
        source: Source,
    ) -> ShardWriter:
        """``model.safetensors``, or shards with an index."""
        return ShardWriter(directory, expected)

    def overhead(
        self, expected: Sequence[TensorInfo], config: Mapping[str, Any], source: Source
    ) -> int:
        """The headers."""
        return header_bytes(expected)

    def describe(
        self, directory: Path, source: Source, config: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """``config.json`` for readers of any age, the tokenizer and its companions, every text."""
        source.copy_companions(directory)
        write_json(directory / "config.json", with_older_names(config))
        for name, text in texts.items():
            write_text(directory / name, text)


HUGGING_FACE = HuggingFaceDirectory()
