"""What a page is made of. All text is plain; what stands between backticks is shown as code."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under ``columns``; readers sort them.

    A cell is a number, a string, or ``None`` for one that is missing. Numbers stay numbers: they
    are sorted by value and shown as :func:`tersor.report.cell` shows them. ``marked``: indices of
    rows that stand out. The first cell of each row names it. Raises :class:`ValueError` for a row
    of another length.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str
    marked: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(self.columns)} columns, but a row of {len(row)}: {row}")

    @property
    def filled(self) -> "Table":
        """Without the columns that hold nothing in any row."""
        if not self.rows:
            return self
        kept = [
            index
            for index in range(len(self.columns))
            if any(row[index] is not None for row in self.rows)
        ]
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        columns = tuple(self.columns[index] for index in kept)
        return Table(columns, rows, self.caption, self.marked)


@dataclass(frozen=True)
class Picture:
    """An SVG made by :func:`tersor.report.html.picture`; ``alt`` says what can be seen in it."""

    svg: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Formula:
    """Lines of one calculation, set as they are."""

    lines: tuple[str, ...]
    caption: str = ""


Part = Paragraph | Table | Picture | Formula


@dataclass(frozen=True)
class Section:
    """``lead``: what the parts show, in a sentence or two; may be empty.

    ``folded``: only heading and lead are seen until it is opened, or printed. For details.
    """

    heading: str
    lead: str
    parts: tuple[Part, ...]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """``findings``: what was found, in sentences with numbers. ``made``: by what, from what."""

    title: str
    subtitle: str
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    made: str
