"""How far a run has come: from its journal and its log, while it lives or afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tersor.checkpoints.output.staging import is_locked
from tersor.checkpoints.output.unfinished import JOURNAL, entries_of, partial_of
from tersor.errors import OutputError
from tersor.machine.memory import resident_bytes
from tersor.pipeline.journal.log import LOG, beside, lines_of, mean_losses
from tersor.report import LayerRecord
from tersor.version import own_version

RUNNING, ENDED, FINISHED = "running", "ended", "finished"

Line = Mapping[str, Any]


@dataclass(frozen=True)
class RunStatus:
    """A run on ``out``.

    ``state``: ``running``, ``ended`` (it may be gone on with) or ``finished``. ``done`` of
    ``planned`` units are kept; ``last``: the name of the last one. ``step`` of ``steps``: of a
    training. ``seconds``: that what is done took; ``seconds_left``: what is left will take if it
    goes on as it went, ``None`` if nothing like it was measured yet. ``memory``: of the living
    process ``pid``, in bytes. ``sqnr_db``, ``output_error``: means over the matrices so far.
    ``why``: what ended it, if it said so.
    """

    out: Path
    state: str
    done: int
    planned: int
    last: str = ""
    step: int | None = None
    steps: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    memory: int | None = None
    pid: int | None = None
    sqnr_db: float | None = None
    output_error: float | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"version": own_version(), **asdict(self), "out": str(self.out)}


def run_status(out: Path) -> RunStatus:
    """How far the run on ``out`` has come; changes nothing.

    Raises :class:`OutputError` if there is none, or its journal is damaged.
    """
    path = out.resolve()
    root = partial_of(path)
    alive, log = is_locked(root), lines_of(root / LOG)
    entries = entries_of(root / JOURNAL)
    if entries:
        return _unfinished(out, entries, log, alive=alive)
    log = log or lines_of(beside(path, LOG))
    if path.exists() and log:
        units = log[0].get("units", 0)
        sqnr, error = (_mean_of(log, name) for name in ("sqnr_db", "output_error"))
        return RunStatus(
            out, FINISHED, units, units,
            seconds=_elapsed(log), sqnr_db=sqnr, output_error=error,
        )  # fmt: skip
    if alive:
        return RunStatus(out, RUNNING, 0, 0)
    raise OutputError(f"{out}: no run is there, and none has left a log; check the path")


def _unfinished(
    out: Path, entries: Sequence[Line], log: Sequence[Line], *, alive: bool
) -> RunStatus:
    planned = [tuple(unit) for unit in entries[0].get("planned", ())]
    lists = {key: _all(entries, key) for key in ("decided", "units")}
    first = lists["decided"] or lists["units"]
    done = {unit["name"]: float(unit["seconds"]) for unit in first}
    records = [LayerRecord(**record) for unit in lists["units"] for record in unit["records"]]
    losses = mean_losses(records)
    started = [line for line in log if line["event"] in ("began", "resumed")]
    pid = started[-1].get("pid") if started and alive else None
    own = log[log.index(started[-1]) :] if started else []
    training = next((line for line in reversed(own) if line["event"] == "training"), None)
    left = _left(planned, done)
    if training is not None:
        left = _training_left(own)
    ended = next((line for line in reversed(own) if line["event"] == "ended"), None)
    return RunStatus(
        out,
        RUNNING if alive else ENDED,
        len(done),
        len(planned),
        first[-1]["name"] if first else "",
        None if training is None else training["step"],
        None if training is None else training["steps"],
        round(sum(done.values()), 3),
        left,
        None if pid is None else resident_bytes(pid),
        pid,
        losses["sqnr_db"],
        losses["output_error"],
        "" if ended is None or alive else f"{ended['error']}: {ended['said']}".rstrip(": "),
    )


def _left(planned: Sequence[tuple[Any, ...]], done: Mapping[str, float]) -> float | None:
    """Units by what others of their kind, blocks or not, took for each byte."""
    left = 0.0
    for kind in (True, False):
        units = [(name, size) for name, size, block in planned if bool(block) is kind]
        missing = sum(size for name, size in units if name not in done)
        measured = sum(size for name, size in units if name in done)
        took = sum(done[name] for name, _ in units if name in done)
        if missing and kind and not measured:
            return None
        # What lies outside the blocks is little beside them, where there are any.
        left += missing * took / measured if measured else 0.0
    return round(left, 3)


def _training_left(log: Sequence[Line]) -> float | None:
    steps = [line for line in log if line["event"] == "training"]
    first, last = steps[0], steps[-1]
    done, missing = last["step"] - first["step"], last["steps"] - last["step"]
    took = float(last["elapsed"] - first["elapsed"])
    return round(took * missing / done, 3) if done else None


def _mean_of(log: Sequence[Line], name: str) -> float | None:
    """Of what the units' lines say of their matrices."""
    values = [v for line in log if line["event"] == "unit" and (v := line.get(name)) is not None]
    return sum(values) / len(values) if values else None


def _elapsed(log: Sequence[Line]) -> float:
    """Of all processes that worked on it."""
    ends = [
        line["elapsed"]
        for line, after in zip(log, [*log[1:], {"event": "began"}], strict=True)
        if after["event"] in ("began", "resumed")
    ]
    return round(float(sum(ends)), 3)


def _all(entries: Sequence[Line], key: str) -> list[Line]:
    return [unit for entry in entries for unit in entry.get(key, ())]
