"""Tokens as they come from a caller, held against the model before anything runs."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tersor.errors import OptionError, TextError
from tersor.options import several


def token_ids(tokens: Any, vocabulary: int) -> list[int]:
    """Ids of a prompt as ``int``, from a sequence or an array ``(n,)``.

    Raises :class:`TextError` if there are none or some that the model of ``vocabulary`` tokens does
    not have, :class:`OptionError` if they are no whole numbers.
    """
    if isinstance(tokens, (str, bytes)):
        raise OptionError("tokens", "must be whole numbers, not text; encode it first")
    found = several("tokens", tokens.tolist() if isinstance(tokens, np.ndarray) else tokens, _id)
    if not found:
        raise TextError("the prompt is empty; give some text with --prompt")
    lowest, highest = min(found), max(found)
    if lowest < 0 or highest >= vocabulary:
        raise TextError(
            f"the prompt has tokens from {lowest} to {highest}, the model from 0 to "
            f"{vocabulary - 1}; is the tokenizer another model's?"
        )
    return found


def refuse_longer(tokens: Sequence[int], most: int, context: int) -> None:
    """Raise :class:`TextError` for more than ``most`` tokens in a ``context``."""
    if len(tokens) > most:
        raise TextError(
            f"the prompt has {len(tokens)} tokens, the context {context}; "
            "shorten it or ask for more with --context"
        )


def _id(name: str, value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise OptionError(name, f"must be whole numbers; there is {value!r}")
