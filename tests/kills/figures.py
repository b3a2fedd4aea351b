"""The table of trials, and where it stands on a page."""

from collections.abc import Mapping, Sequence

_BEGIN, _END = "<!-- figures of make test-kills -->\n", "<!-- end of kills -->"
_HEAD = (
    "| run | trials | system calls | killed at one | killed at a time | SIGTERM | same bytes "
    "| other |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
)
_KINDS = ("at a call", "at a time", "sigterm", "same", "wrong")

Row = tuple[str, int, int, tuple[int, ...]]


def row(name: str, trials: int, calls: int, counts: Mapping[str, int]) -> Row:
    """One case: ``calls`` that change something on disk in an undisturbed run, and counts."""
    return name, trials, calls, tuple(counts.get(kind, 0) for kind in _KINDS)


def table(rows: Sequence[Row]) -> str:
    """Markdown, with the sum of all in the last row."""
    lines = [f"| {n} | {t} | {c} | {' | '.join(map(str, f))} |\n" for n, t, c, f in rows]
    sums = [sum(found) for found in zip(*(f for *_, f in rows), strict=True)]
    cells = " | ".join(f"**{value}**" for value in sums)
    lines.append(f"| **all** | **{sum(t for _, t, _, _ in rows)}** | | {cells} |\n")
    return _HEAD + "".join(lines)


def with_table(page: str, found: str) -> str:
    """The page with the table in place of the one between its marks."""
    before, rest = page.split(_BEGIN)
    return before + _BEGIN + found + _END + rest.split(_END, 1)[1]
