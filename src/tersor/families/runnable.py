"""A family as the engine needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersor.families.decoder import Decoder


@dataclass(frozen=True)
class Runnable:
    """``defaults``: values of fields that a ``config.json`` may leave out, as in transformers.

    All fields that the engine reads are among them.
    """

    model_type: str
    defaults: Mapping[str, Any]
    decoder: Decoder
