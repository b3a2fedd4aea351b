"""What ``compare`` found."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import write_text
from tersor.pipeline.studies.evaluate import ScoredText
from tersor.pipeline.studies.rows import CompareRow
from tersor.recipes.naming import TABLES
from tersor.report import for_people, to_csv, to_markdown
from tersor.version import own_version, versions

REPORT = "compare.html"


@dataclass(frozen=True)
class ComparedArtifact:
    """What one recipe made in ``directory``.

    ``made_with``: digests of the source and of the result, and what was read, plain JSON types.
    ``calibrated``: a line for each text that was read. ``seconds``: of quantizing. ``travel``:
    relative squared error of the hidden states behind each block, ``None`` where they cannot be
    had. ``not_timed``: why the engine did not run it.
    """

    recipe: str
    directory: Path
    made_with: Mapping[str, Any]
    calibrated: tuple[str, ...]
    seconds: float
    travel: tuple[float, ...] | None = None
    not_timed: str = ""


@dataclass(frozen=True)
class CompareResult:
    """One row per recipe and text, the original first.

    ``model``: what was quantized. ``texts``: what was scored, and how. ``artifacts``: one per
    recipe. ``timed``: how many tokens of a prompt and behind it, if speed was asked for.
    """

    model: Path
    rows: tuple[CompareRow, ...]
    texts: tuple[ScoredText, ...]
    artifacts: tuple[ComparedArtifact, ...]
    timed: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Rows, what was scored, and what every recipe was made with, as plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "versions": versions(),
            "texts": [text.to_dict() for text in self.texts],
            "recipes": {one.recipe: dict(one.made_with) for one in self.artifacts},
            "rows": [row.to_dict() for row in self.rows],
            "travel": {
                one.recipe: None if one.travel is None else list(one.travel)
                for one in self.artifacts
            },
            "timed": None if self.timed is None else list(self.timed),
        }

    def lines(self) -> list[str]:
        """For people: what was scored, what recipes were calibrated on, what was not timed."""
        read = [line for one in self.artifacts for line in one.calibrated]
        untimed = [one for one in self.artifacts if one.not_timed]
        reasons = [f"{one.recipe} is not timed: {one.not_timed}" for one in untimed]
        return [*(f"scored {text.line()}" for text in self.texts), *read, *reasons]

    def table(self) -> list[dict[str, Any]]:
        """The rows for people; columns that nothing was asked for are left out."""
        rows = for_people([row.to_dict() for row in self.rows])
        empty = [name for name in rows[0] if all(row.get(name) is None for row in rows)]
        return [
            {name: _plain(value) for name, value in row.items() if name not in empty}
            for row in rows
        ]

    def write(self, directory: Path) -> None:
        """Write ``compare.csv``, ``compare.json`` and ``compare.md``."""
        document = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        lines = "".join(f"- {line}\n" for line in self.lines())
        rows = [row.to_dict() for row in self.rows]
        texts = (to_csv(rows), document, f"{to_markdown(self.table())}\n{lines}")
        for name, text in zip(TABLES, texts, strict=False):
            write_text(directory / name, text)


def _plain(value: Any) -> Any:
    """Yes as a mark, no as nothing."""
    return value if not isinstance(value, bool) else "*" * value
