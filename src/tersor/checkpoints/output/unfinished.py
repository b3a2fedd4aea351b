"""What a run left that may be gone on with: seen from outside, by its journal."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tersor.errors import OutputError

JOURNAL = "journal.jsonl"
PARTIAL = ".partial"
ARTIFACT = "artifact"

Entry = Mapping[str, Any]


def partial_of(path: Path) -> Path:
    """The hidden directory in which the result ``path`` grows."""
    return path.with_name(f".{path.name}{PARTIAL}")


def whole_lines(path: Path) -> bytes:
    """A journal without a last line that has no end: the run was killed while it wrote that."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def entries_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; none if there is no file.

    Raises :class:`OutputError` for a file whose lines are none of a journal, and :class:`OSError`.
    """
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(whole_lines(path).splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise OutputError(
                f"{path}: line {number} is none of a journal; check the disk, and start anew with "
                "--force"
            )
        found.append(entry)
    return found


def finished(entries: Iterable[Entry]) -> list[str]:
    """Names of the units that are written, or decided for a training, each once."""
    lists = (entry.get(key, ()) for entry in entries for key in ("units", "decided"))
    return list(dict.fromkeys(unit["name"] for units in lists for unit in units))


def how_far(entries: Iterable[Entry]) -> str:
    """``12 of 33 units finished``, for people."""
    entries = list(entries)
    planned = next((entry["planned"] for entry in entries if "planned" in entry), ())
    return f"{len(finished(entries))} of {len(planned)} units finished"


def refuse_unfinished(path: Path) -> None:
    """Raise :class:`OutputError` if a run on the result ``path`` may be gone on with."""
    entries = entries_of(partial_of(path) / JOURNAL)
    if finished(entries):
        raise OutputError(
            f"{path}: an unfinished run is there ({how_far(entries)}); go on with it (--resume), "
            "or start anew (--force)"
        )


def is_published(path: Path, file: str | None) -> bool:
    """Whether a run gave the result ``path`` its name, and was killed behind that.

    ``file``: the one that is the result, if it is no directory.
    """
    root = partial_of(path)
    staged = root / ARTIFACT if file is None else root / ARTIFACT / file
    complete = any("complete" in entry for entry in entries_of(root / JOURNAL))
    return complete and not staged.exists() and path.exists()
