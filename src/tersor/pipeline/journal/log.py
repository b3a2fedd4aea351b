"""What happens in a run, a line of JSON each: for people and programs that look at it, or later.

Nothing is read from it that a result depends on. ``at`` is the clock of the machine, which may
jump; ``elapsed`` counts seconds of this process's run, and does not.
"""

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import writing
from tersor.errors import OutputError
from tersor.machine.memory import resident_bytes
from tersor.report import LayerRecord, to_csv

LOG, LAYERS = "log.jsonl", "layers.csv"
_BETWEEN_STEPS = 10.0
_HEAD = "module,shape,scheme,"


class RunLog:
    """Lines added to a file. What it cannot write is left out: no run fails for its log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started = time.monotonic()
        self._stepped = float("-inf")

    def say(self, event: str, **fields: Any) -> None:
        """Add a line."""
        line = {
            "event": event,
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "elapsed": round(time.monotonic() - self._started, 3),
            "memory": resident_bytes(os.getpid()),
            **fields,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError:
            return

    def step(self, done: int, total: int) -> None:
        """A step of a training; not every one is worth a line."""
        now = time.monotonic()
        if now - self._stepped >= _BETWEEN_STEPS or done in (0, total):
            self._stepped = now
            self.say("training", step=done, steps=total)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that can be read; none if there is no file."""
    found = []
    try:
        data = path.read_bytes()
    except OSError:
        return []
    for line in data.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "event" in entry:
            found.append(entry)
    return found


def beside(out: Path, name: str) -> Path:
    """Where what belongs to the result ``out`` lies: ``OUT.log.jsonl``."""
    return out.with_name(f"{out.name}.{name}")


def refuse_strange(out: Path) -> None:
    """Raise :class:`OutputError` for files beside ``out`` that are in the way and no run's."""
    log, layers = beside(out, LOG), beside(out, LAYERS)
    strange = [log] if log.exists() and not lines_of(log) else []
    if layers.exists():
        with writing(layers):
            head = layers.read_text(encoding="utf-8", errors="replace")
        strange += [] if head.startswith(_HEAD) else [layers]
    if strange:
        raise OutputError(
            f"{strange[0]}: exists and is none of tersor's; move it, or choose another output"
        )


def layers_csv(records: Sequence[LayerRecord]) -> str:
    """A row for each matrix, with the fields of its record."""
    rows = [record.to_dict() | {"shape": "x".join(map(str, record.shape))} for record in records]
    return to_csv(rows) if rows else f"{_HEAD}\n"


def mean_losses(records: Sequence[LayerRecord]) -> dict[str, float | None]:
    """Means over quantized matrices: ``sqnr_db``, ``output_error``; ``None`` of none."""
    return {
        name: _mean([v for r in records if (v := getattr(r, name)) is not None and abs(v) < 1e30])
        for name in ("sqnr_db", "output_error")
    }


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
