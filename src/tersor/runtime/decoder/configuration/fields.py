"""Fields of a ``config.json``, with types and with defaults for what is missing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as clipped
from typing import Any, TypeGuard

from tersor.errors import SourceError


@dataclass(frozen=True)
class Fields:
    """``values`` and ``defaults`` by name; ``place`` and ``prefix`` are for errors.

    Every method raises :class:`SourceError`, which names the field, for values of other types.
    """

    values: Mapping[str, Any]
    place: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""

    def raw(self, name: str) -> Any:
        """The value as it stands there; None if it is null or missing without a default."""
        return self.values.get(name, self.defaults.get(name))

    def whole(self, name: str, least: int = 1) -> int:
        """A whole number from ``least``."""
        value = self.raw(name)
        if not _whole(value) or value < least:
            raise self.refused(name, f"a whole number from {least}")
        return value

    def optional_whole(self, name: str) -> int | None:
        """A whole number from 0, or None."""
        return None if self.raw(name) is None else self.whole(name, least=0)

    def number(self, name: str) -> float:
        """A finite number, whole ones as they are."""
        value = self.raw(name)
        if not _number(value):
            raise self.refused(name, "a finite number")
        return value

    def positive(self, name: str) -> float:
        """A finite number above 0."""
        value = self.number(name)
        if value <= 0:
            raise self.refused(name, "a number above 0")
        return value

    def optional_number(self, name: str) -> float | None:
        """A finite number, or None."""
        return None if self.raw(name) is None else self.number(name)

    def switch(self, name: str) -> bool:
        """True or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self.refused(name, "true or false")
        return value

    def name(self, name: str) -> str:
        """A string."""
        value = self.raw(name)
        if not isinstance(value, str):
            raise self.refused(name, "a name in quotes")
        return value

    def names(self, name: str) -> list[str] | None:
        """A list of strings, or None."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.refused(name, "a list of names")
        return value

    def part(self, name: str, defaults: Mapping[str, Any] | None = None) -> "Fields | None":
        """An object in it, or None."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.refused(name, "an object")
        return Fields(value, self.place, defaults or {}, f"{self.prefix}{name}.")

    def refused(self, name: str, wanted: str) -> SourceError:
        """The error for a field that is not what is ``wanted``."""
        found = clipped(self.raw(name)) if self.raw(name) is not None else "missing or null"
        return SourceError(
            f"{self.place}: {self.prefix}{name} is {found}, not {wanted}; take the config.json "
            "that belongs to the weights"
        )


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> TypeGuard[float]:
    if isinstance(value, float):
        return math.isfinite(value)
    # Beyond that an integer of JSON is no number to compute with.
    return _whole(value) and abs(value) < 2**63
