"""One family of models: all checkpoints whose blocks have the same anatomy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersor.families.blocks import Blocks
from tersor.families.decoder import Decoder
from tersor.families.gguf import Gguf


@dataclass(frozen=True)
class Family:
    """A family.

    ``defaults`` are values of fields of ``config.json`` that a published one may leave out, as
    transformers' config class fills them in: the number of heads and whether the head is the
    embedding, and all fields that the engine reads. ``blocks``: what is quantized and what may be
    scaled. ``gguf``: None if its GGUF files are not read. ``decoder``: what the engine must know;
    None if it does not run the family.
    """

    model_type: str
    defaults: Mapping[str, Any]
    blocks: Blocks
    gguf: Gguf | None = None
    decoder: Decoder | None = None

    @property
    def heads(self) -> int:
        """The number of query heads where ``config.json`` does not say."""
        return int(self.defaults[self.blocks.heads_key])

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding where ``config.json`` does not say."""
        return bool(self.defaults["tie_word_embeddings"])


@dataclass(frozen=True)
class Outer:
    """A model with other parts beside its text, which runs as if it were alone without an image.

    ``text``: the family of the text where ``text_config`` names none. ``tied``: whether the head is
    the embedding where ``config.json`` does not say. ``tied_by_text``: it is too if the text's part
    says so.
    """

    model_type: str
    text: str
    tied: bool
    tied_by_text: bool = False
