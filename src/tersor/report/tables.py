"""Rows of plain values as CSV, Markdown and terminal tables."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tersor.report.text import figure

Row = Mapping[str, Any]


def to_csv(rows: Sequence[Row]) -> str:
    """CSV with a header; every row has the keys of the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """A Markdown table; numbers are right-aligned and shortened."""
    columns = list(rows[0])
    rules = ["---:" if isinstance(rows[0][c], int | float) else "---" for c in columns]
    lines = [columns, rules, *([_cell(row[c]) for c in columns] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def print_table(rows: Sequence[Row], title: str) -> None:
    """Print a table to standard output, as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in rows[0]:
        numeric = isinstance(rows[-1][column], int | float)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return figure(value)
    return "–" if value is None else str(value)
