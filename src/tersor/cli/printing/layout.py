"""How lines and tables fit a terminal, every number whole; in a pipe lines are never broken."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tersor.report import Row, cell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_NARROWEST = 20


def width() -> int | None:
    """Columns of the terminal that standard output is; ``None`` if it is none."""
    if not sys.stdout.isatty():
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def say(text: str, indent: int = 11) -> None:
    """Print one fact, usually behind a label; ``indent``: of the lines that it goes on in."""
    print("\n".join(broken(text, indent)))


def broken(text: str, indent: int) -> list[str]:
    """``text`` in lines that fit the terminal; all but the first begin with ``indent`` spaces."""
    columns = width()
    if columns is None:
        return [text]
    return textwrap.wrap(
        text,
        columns,
        subsequent_indent=" " * min(indent, columns // 3),
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(rows: Sequence[Row], keys: Sequence[str]) -> None:
    """Print rows as a table. ``keys``: the columns that name a row.

    Where the terminal is too narrow, the rest of the columns follows in further tables, each of
    which begins with the keys; a single row is printed as one line for each of its values.
    """
    columns, names = width(), list(rows[0])
    if columns is None or _measured(_table(rows, names)) <= columns:
        _print(_table(rows, names), columns)
        return
    if len(rows) == 1:
        indent = max(map(len, names)) + 2
        for name, value in rows[0].items():
            say(f"{name:<{indent}}{cell(value)}", indent)
        return
    same = [name for name in keys[1:] if len({row[name] for row in rows}) == 1]
    for name in same:
        say(f"{name}: {rows[0][name]}, in all rows", 2)
    kept = [name for name in keys if name not in same]
    rest = [name for name in names if name not in keys]
    while rest:
        count = max(1, _fitting(rows, kept, rest, columns))
        _print(_table(rows, kept + rest[:count], columns // 3), columns)
        rest = rest[count:]
        if rest:
            print()


def _fitting(rows: Sequence[Row], keys: list[str], rest: list[str], columns: int) -> int:
    """How many of the first columns of ``rest`` fit behind the keys."""
    fit = (
        count
        for count in range(len(rest), 0, -1)
        if _measured(_table(rows, keys + rest[:count], columns // 3)) <= columns
    )
    return next(fit, 0)


def _table(rows: Sequence[Row], names: Sequence[str], longest_text: int | None = None) -> "Table":
    """Numbers stay in one line; text longer than ``longest_text`` goes on in the next one."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD, header_style="bold", padding=(0, 0, 0, 1), pad_edge=False, show_edge=False
    )
    for name in names:
        numeric = any(isinstance(row[name], int | float) for row in rows)
        table.add_column(
            Text(name),
            justify="right" if numeric else "left",
            no_wrap=numeric or longest_text is None,
            overflow="fold",
            min_width=max(len(text) for text in _texts(rows, name)) if numeric else None,
            max_width=None if numeric else longest_text,
        )
    for row in rows:
        table.add_row(*(Text(cell(row[name])) for name in names))
    return table


def _texts(rows: Sequence[Row], name: str) -> list[str]:
    return [name, *(cell(row[name]) for row in rows)]


def _measured(table: "Table") -> int:
    return _console(10_000).measure(table).maximum


def _print(table: "Table", columns: int | None) -> None:
    _console(_measured(table) if columns is None else columns).print(table)


def _console(columns: int) -> "Console":
    from rich.console import Console

    # Without a height rich takes a dumb terminal, an editor's say, to be 80 columns wide.
    return Console(width=columns, height=25)
