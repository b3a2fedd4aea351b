"""Paths, flags and lists as they come from a caller.

Where several values are meant, one alone is taken as a list of one: a string is never taken letter
by letter.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import repr as clipped
from typing import Any, TypeVar

from tersor.errors import OptionError

T = TypeVar("T")

AnyPath = str | os.PathLike[str]
"""A path as callers give it."""


def one_path(name: str, value: Any) -> Path:
    """A path from text or a path. Raises :class:`OptionError` for anything else, and for ``""``."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(name, f"must be a path, not {clipped(value)}")
    return Path(value)


def yes_or_no(name: str, value: Any) -> bool:
    """A boolean: ``"no"`` and 1 are none. Raises :class:`OptionError`."""
    if not isinstance(value, bool):
        raise OptionError(name, f"must be True or False, not {clipped(value)}")
    return value


def of_kind(name: str, value: Any, kind: type[T]) -> T:
    """A value of tersor's own type ``kind``. Raises :class:`OptionError` for anything else."""
    if not isinstance(value, kind):
        raise OptionError(name, f"must be {kind.__name__}(…), not {clipped(value)}")
    return value


def several(name: str, value: Any, one: Callable[[str, Any], T], *alone: type) -> list[T]:
    """Every item of ``value`` through ``one``; a value of the types ``alone`` is one item.

    Raises :class:`OptionError` for what can not be walked through.
    """
    items = [value] if isinstance(value, alone) else value
    if isinstance(items, (bytes, dict)) or not isinstance(items, Iterable):
        raise OptionError(name, f"must be a list, not {clipped(value)}")
    return [one(name, item) for item in items]


def some_paths(name: str, value: Any) -> list[Path]:
    """Paths, from one or a list of them. Raises :class:`OptionError`."""
    return several(name, value, one_path, str, os.PathLike)


def some_words(name: str, value: Any) -> tuple[str, ...]:
    """Text that is not empty, from one or a list of them. Raises :class:`OptionError`."""
    return tuple(several(name, value, _word, str))


def comma_separated(name: str, value: str) -> list[str]:
    """The parts of ``a, b,c``. Raises :class:`OptionError` if one is empty."""
    parts = [part.strip() for part in value.split(",")]
    if not all(parts):
        raise OptionError(name, f"names nothing at a comma: {clipped(value)}")
    return parts


def whole_numbers(name: str, value: str) -> list[int]:
    """``2,3,4`` as numbers. Raises :class:`OptionError` naming what is none."""
    found = []
    for word in comma_separated(name, value):
        if not word.isascii() or not word.isdigit():
            raise OptionError(name, f"must be whole numbers with commas between them, not {word!r}")
        found.append(int(word))
    return found


def refuse_without(needed: str, given: object, others: Mapping[str, object]) -> None:
    """Raise :class:`OptionError` for the first of ``others`` that is set, if ``needed`` is not."""
    if given:
        return
    for name, value in others.items():
        if value is not None:
            raise OptionError(name, "has no effect without {}", needed)


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(name, f"must be text that is not empty, not {clipped(value)}")
    return value
