"""Conversations as a model is given them in use."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tersor.calibration.text.rows import Message, Row
from tersor.checkpoints.gateway.chat_template import ChatTemplate
from tersor.errors import SourceError, TextError


def conversation_tokens(tokenizer: Any, row: Row, *, transcripts: bool) -> list[int]:
    """A conversation through the tokenizer's own chat template, with the special tokens it writes.

    Where there is none, ``transcripts`` reads it as a plain text of who says what; where it refuses
    a system message, what that says is put in front of the first question. Dates in templates are a
    fixed day.

    Raises :class:`TextError` if there is no template, or the template refuses the conversation,
    :class:`SourceError` if it is broken.
    """
    text = _lenient(tokenizer, row) if transcripts else _rendered(tokenizer, row)
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _lenient(tokenizer: Any, row: Row) -> str:
    if not ChatTemplate.exists(tokenizer):
        return transcript(row.messages)
    for tried in (row, replace(row, messages=_without_system(row.messages))):
        try:
            return _rendered(tokenizer, tried)
        except (TextError, SourceError):
            continue
    return transcript(row.messages)


def _without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with what a system message says in front of the one after it."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return tuple(messages)
    system, first, *rest = messages
    return ({**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest)


def transcript(messages: Sequence[Message]) -> str:
    """Who says what, a paragraph each."""
    said = (f"{one['role'].capitalize()}: {one['content']}\n\n" for one in messages)
    return "".join(said)


def _rendered(tokenizer: Any, row: Row) -> str:
    if not ChatTemplate.exists(tokenizer):
        raise TextError(
            f"{row.place}: messages, but the model's tokenizer has no chat template; give a file "
            "with a field text"
        )
    try:
        return ChatTemplate(tokenizer, fixed_day=True).render(row.messages)
    except TextError as error:
        raise TextError(f"{row.place}: {error}") from error
