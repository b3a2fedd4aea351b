"""What lies beside the weights of a GGUF file's model: its tokenizer, and what ends an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_json, writing
from tersor.checkpoints.gguf.config import generation_fields
from tersor.checkpoints.gguf.header import GGUFHeader

ABOUT = "gguf_metadata.json"
"""What GGUF files tell of a model and ``config.json`` does not."""

_GENERAL = "general."
_OF_THE_FILE = ("architecture", "file_type", "quantization_version", "alignment")


@dataclass(frozen=True)
class Companions:
    """Of the file ``path``. ``tokenizer``: arguments for rebuilding it; None without one.

    ``about``: name, licence and the like, as the file has them.
    """

    path: Path
    generation: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None
    about: Mapping[str, Any]

    def write(self, directory: Path) -> tuple[str, ...]:
        """Rebuild the tokenizer (chat template included) and ``generation_config.json``.

        What the file tells of its model goes into ``gguf_metadata.json``, for one that is written
        of it again. A file without a vocabulary gives no tokenizer. Returns the names of the files
        made. Raises :class:`~tersor.errors.SourceError` for a tokenizer that cannot be rebuilt.
        """
        from tersor.checkpoints.gguf.transformers_bridge import save_tokenizer

        write_json(directory / "generation_config.json", self.generation)
        made = ["generation_config.json"]
        if self.about:
            write_json(directory / ABOUT, self.about)
            made.append(ABOUT)
        if self.tokenizer is not None:
            with writing(directory):
                made += save_tokenizer(self.path, directory, **self.tokenizer)
        return tuple(sorted(made))


def companions_of(header: GGUFHeader) -> Companions:
    """What a header tells of them."""
    settings = _tokenizer_settings(header)
    return Companions(header.path, generation_fields(header), settings, told_of_model(header))


def told_of_model(header: GGUFHeader) -> dict[str, Any]:
    """``general.*`` of a header, but for what is about the file and not the model."""
    left_out = {f"{_GENERAL}{key}" for key in _OF_THE_FILE}
    return {
        key: value
        for key, value in header.metadata.items()
        if key.startswith(_GENERAL) and key not in left_out
    }


def _tokenizer_settings(header: GGUFHeader) -> dict[str, Any] | None:
    """The arguments of ``save_tokenizer``, if the file has a vocabulary."""
    if "tokenizer.ggml.tokens" not in header.metadata:
        return None
    return {
        "byte_level": header.metadata.get("tokenizer.ggml.model") == "gpt2",
        "split": str(header.metadata.get("tokenizer.ggml.pre", "default")),
        "length": header.number("context_length"),
    }
