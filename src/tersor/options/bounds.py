"""Kinds of values that check themselves."""

import numbers
import operator
from dataclasses import dataclass
from reprlib import repr as clipped
from typing import Any

from tersor.errors import OptionError
from tersor.options.nearest import nearest


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``, or ``also``.

    ``why`` says where a bound comes from, ``also_means`` what the other value stands for.
    """

    name: str
    least: int
    most: int
    why: str = ""
    also: int | None = None
    also_means: str = ""

    @property
    def span(self) -> str:
        """``1 to 8``, or ``1 and more`` where the upper bound is that of memory, not of sense."""
        if self.most >= 2**31 - 1:
            return f"{self.least} and more"
        return f"{self.least} to {self.most}"

    def __call__(self, value: Any) -> int:
        """The value as an ``int``; integers of numpy are taken, booleans and floats are not.

        Raises :class:`OptionError`.
        """
        number = _whole(value)
        if number is None or not (self.least <= number <= self.most or number == self.also):
            also = "" if self.also is None else f"{self.also} ({self.also_means}) or "
            bounds = f"{also}a whole number from {self.least} to {self.most}"
            why = f" ({self.why})" if self.why else ""
            raise OptionError(self.name, f"must be {bounds}{why}, not {clipped(value)}")
        return number

    def or_none(self, value: Any) -> int | None:
        """The same, where ``None`` leaves the choice to tersor."""
        return None if value is None else self(value)


@dataclass(frozen=True)
class Number:
    """A finite number from ``least`` to ``most``; ``above``: ``least`` itself is too little."""

    name: str
    least: float
    most: float
    above: bool = False

    @property
    def span(self) -> str:
        """``0 to 1``, or ``above 0, up to 1``."""
        begin = f"above {self.least:g}, up" if self.above else f"{self.least:g}"
        return f"{begin} to {self.most:g}"

    def __call__(self, value: Any) -> float:
        """The value as a ``float``. Raises :class:`OptionError`."""
        plain = isinstance(value, numbers.Real) and not isinstance(value, bool)
        # NaN is in no interval.
        inside = plain and self.least <= value <= self.most
        if not inside or (self.above and value == self.least):
            bounds = f"{'above' if self.above else 'from'} {self.least:g} to {self.most:g}"
            raise OptionError(self.name, f"must be a number {bounds}, not {clipped(value)}")
        return float(value)


@dataclass(frozen=True)
class Choice:
    """One of a few values, all numbers or all words."""

    name: str
    values: tuple[int, ...] | tuple[str, ...]

    @property
    def span(self) -> str:
        """``8 or 16``."""
        *others, last = map(str, self.values)
        return f"{', '.join(others)} or {last}"

    def __call__(self, value: Any) -> Any:
        """The value. Raises :class:`OptionError` with the nearest word for another."""
        plain = value if isinstance(value, str) else _whole(value)
        if plain in self.values:
            return plain
        hint = ""
        if isinstance(value, str) and isinstance(self.values[0], str):
            hint = nearest(value, map(str, self.values))
        raise OptionError(self.name, f"must be {self.span}, not {clipped(value)}{hint}")

    def or_none(self, value: Any) -> Any:
        """The same, where ``None`` leaves the choice to tersor."""
        return None if value is None else self(value)


def _whole(value: Any) -> int | None:
    """An integer of any library; ``None`` for what is no number, and for truth values."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
