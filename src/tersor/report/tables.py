"""Rows of plain values as CSV and Markdown."""

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
    lines = [columns, rules, *([cell(row[c]) for c in columns] for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def cell(value: Any) -> str:
    """A value as people read it; ``–`` for one that is missing."""
    if isinstance(value, float):
        return figure(value)
    return "–" if value is None else str(value)
