"""One family of models: all checkpoints whose blocks have the same anatomy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersor.families.decoder import Decoder


@dataclass(frozen=True)
class Family:
    """A family.

    ``defaults`` are values of fields of ``config.json`` that a published one may leave out, as
    transformers' config class fills them in. ``decoder``: what the engine must know; None if it
    does not run the family.
    """

    model_type: str
    defaults: Mapping[str, Any]
    decoder: Decoder | None = None


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
