"""Conversations as a model is given them in use."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tersor.calibration.text.rows import Message, Row
from tersor.errors import TextError

# Templates that say what day it is would give other tokens every day; a macro hides the function
# that they ask, since transformers passes no functions to templates.
_DAY = {
    "%Y": "2025",
    "%y": "25",
    "%m": "01",
    "%b": "Jan",
    "%B": "January",
    "%d": "01",
    "%-d": "1",
    "%a": "Wed",
    "%A": "Wednesday",
    "%H": "12",
    "%M": "00",
    "%S": "00",
}
_REPLACED = "".join(f" | replace('{code}', '{value}')" for code, value in _DAY.items())
_FIXED_DAY = "{%- macro strftime_now(form) -%}{{ form" + _REPLACED + " }}{%- endmacro -%}\n"


def conversation_tokens(tokenizer: Any, row: Row, *, transcripts: bool) -> list[int]:
    """A conversation through the tokenizer's own chat template, with the special tokens it writes.

    Where there is none, ``transcripts`` reads it as a plain text of who says what; where it refuses
    a system message, what that says is put in front of the first question. Dates in templates are a
    fixed day.

    Raises :class:`TextError` if there is no template, or the template refuses the conversation.
    """
    text = _lenient(tokenizer, row) if transcripts else _rendered(tokenizer, row)
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _lenient(tokenizer: Any, row: Row) -> str:
    if not _has_template(tokenizer):
        return transcript(row.messages)
    for tried in (row, replace(row, messages=_without_system(row.messages))):
        try:
            return _rendered(tokenizer, tried)
        except TextError:
            continue
    return transcript(row.messages)


def _without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with what a system message says in front of the one after it."""
    if len(messages) < 2 or messages[0]["role"] != "system":
        return tuple(messages)
    system, first, *rest = messages
    return ({**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest)


def _has_template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))


def transcript(messages: Sequence[Message]) -> str:
    """Who says what, a paragraph each."""
    said = (f"{one['role'].capitalize()}: {one['content']}\n\n" for one in messages)
    return "".join(said)


def _rendered(tokenizer: Any, row: Row) -> str:
    if not _has_template(tokenizer):
        raise TextError(
            f"{row.place}: messages, but the model's tokenizer has no chat template; give a file "
            "with a field text"
        )
    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = _FIXED_DAY + template
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in row.messages], chat_template=template, tokenize=False
        )
    except Exception as error:  # whatever the template raises, jinja's own errors among it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TextError(
            f"{row.place}: the model's chat template refuses the conversation ({reason})"
        ) from error
    return text
