"""Rows of data sets: a ``text``, or the ``messages`` of a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tersor.errors import TextError

FIELDS = ("text", "messages")
Message = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One row: its ``text``, or ``messages`` and no text. ``place`` is where it stands."""

    place: str
    text: str = ""
    messages: tuple[Message, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read in it."""
        return not self.messages and not self.text.strip()


def field_of(names: Sequence[str], place: str) -> str:
    """Which of ``FIELDS`` a data set with the fields ``names`` is read by.

    Raises :class:`TextError` if it has none of them, or both.
    """
    found = [field for field in FIELDS if field in names]
    if len(found) == 1:
        return found[0]
    if found:
        raise TextError(f"{place}: both text and messages; leave out one of them")
    have = ", ".join(sorted(map(str, names))[:8]) or "none"
    raise TextError(f"{place}: no field text or messages (fields: {have}); rename the one to read")


def row_of(value: Any, field: str, place: str) -> Row:
    """The row with ``value`` in the field ``field``.

    Raises :class:`TextError` for a value of another kind.
    """
    if field == "text":
        if value is not None and not isinstance(value, str):
            raise TextError(f"{place}: text is {type(value).__name__}, not a string")
        return Row(place, text=value or "")
    if value is not None and not isinstance(value, (list, tuple)):
        raise TextError(f"{place}: messages is {type(value).__name__}, not a list")
    return Row(place, messages=tuple(_message(one, place) for one in value or ()))


def _message(value: Any, place: str) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise TextError(f"{place}: a message is an object with role and content")
    for key in ("role", "content"):
        if not isinstance(value[key], str):
            raise TextError(
                f"{place}: {key} of a message is {type(value[key]).__name__}, not a string"
            )
    return value
