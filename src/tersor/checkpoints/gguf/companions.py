"""What lies beside the weights of a GGUF file's model: its tokenizer, and what ends an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_json, writing
from tersor.checkpoints.gguf.config import generation_fields
from tersor.checkpoints.gguf.header import GGUFHeader


@dataclass(frozen=True)
class Companions:
    """Of the file ``path``. ``tokenizer``: arguments for rebuilding it; None without one."""

    path: Path
    generation: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None

    def write(self, directory: Path) -> tuple[str, ...]:
        """Rebuild the tokenizer (chat template included) and ``generation_config.json``.

        A file without a vocabulary gives only the latter. Returns the names of the files made.
        Raises :class:`~tersor.errors.SourceError` for a tokenizer that cannot be rebuilt.
        """
        from tersor.checkpoints.gguf.transformers_bridge import save_tokenizer

        write_json(directory / "generation_config.json", self.generation)
        made = ["generation_config.json"]
        if self.tokenizer is not None:
            with writing(directory):
                made += save_tokenizer(self.path, directory, **self.tokenizer)
        return tuple(sorted(made))


def companions_of(header: GGUFHeader) -> Companions:
    """What a header tells of them."""
    return Companions(header.path, generation_fields(header), _tokenizer_settings(header))


def _tokenizer_settings(header: GGUFHeader) -> dict[str, Any] | None:
    """The arguments of ``save_tokenizer``, if the file has a vocabulary."""
    if "tokenizer.ggml.tokens" not in header.metadata:
        return None
    return {
        "byte_level": header.metadata.get("tokenizer.ggml.model") == "gpt2",
        "split": str(header.metadata.get("tokenizer.ggml.pre", "default")),
        "length": header.number("context_length"),
    }
