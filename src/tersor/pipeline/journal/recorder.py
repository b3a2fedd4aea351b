"""Keeps what a run finishes, while the run goes on; and has it for a run that goes on with it.

What is finished counts when its line is in the journal, and the line is written when all that it
tells of is on disk. Waiting for the disk happens in a thread of its own; a block that ends while
the one before is still waited for is kept together with the next.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tersor.checkpoints.output.workplace import Workplace
from tersor.errors import OptionError
from tersor.formats.containers.container import ResumableWriter, Writer
from tersor.pipeline.blocks.work import Work
from tersor.pipeline.journal.decisions import put_together, taken_apart
from tersor.pipeline.journal.entry import UnitEntry
from tersor.pipeline.journal.log import LOG, RunLog, mean_losses
from tersor.pipeline.journal.passage import Passage
from tersor.pipeline.journal.snapshot import make_durable, read_snapshot, write_snapshot
from tersor.pipeline.planning import Plan
from tersor.training import Checkpoint

_NEW = ".new"


class Recorder:
    """The journal of one run, in its workplace; see :mod:`tersor.pipeline.journal`."""

    def __init__(
        self, place: Workplace, plan: Plan, identity: Mapping[str, Any], *, published: bool
    ) -> None:
        """``published``: the result of an earlier run has its name already.

        Raises :class:`~tersor.errors.OutputError` for a journal that cannot be written.
        """
        self._place, self._plan, self.published = place, plan, published
        self._writer: ResumableWriter | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._running: Future[None] | None = None
        self._units: list[dict[str, Any]] = []
        self._decided: list[dict[str, Any]] = []
        self._files: list[Path] = []
        self._since = time.monotonic()
        self.kept = [UnitEntry.of(said) for said in _all(place.kept, "units")]
        """Units that are written already, in their order."""
        self._written = {unit.name for unit in self.kept}
        self._kept_decisions = {said["name"]: said for said in _all(place.kept, "decided")}
        self._passage: dict[str, Any] | None = _last(place.kept, "passage")
        if not place.kept:
            place.journal.add({"run": identity, "planned": _planned(plan)})
        self.log = RunLog(place.root / LOG)
        self.checkpoint = Checkpoint(place.root / "training.safetensors")
        """In which a training keeps its state."""

    def into(self, writer: Writer) -> None:
        """Begin with what is written already.

        Raises :class:`~tersor.errors.OutputError`, and :class:`OptionError` for a writer whose
        tensors cannot be gone on with.
        """
        if not isinstance(writer, ResumableWriter):
            if self._place.resume:
                raise OptionError("resume", f"has no effect: {self._plan.format} files cannot grow")
            return
        for unit in self.kept:
            for info in unit.widened:
                writer.revise(info)
        tensors: dict[str, str] = {}
        for entry in self._place.kept:
            tensors |= entry.get("tensors", {})
        writer.adopt(tensors)
        self._writer = writer

    def has(self, name: str) -> bool:
        """Whether an earlier run has written a unit, or decided what a training begins with."""
        return name in self._kept_decisions or name in self._written

    def has_written(self, name: str) -> bool:
        """Whether an earlier run has written a unit."""
        return name in self._written

    def written(self, entry: UnitEntry) -> None:
        """A unit was given to the writer; it is kept with the next :meth:`commit`."""
        if self._writer is None:
            return
        self._units.append(self._timed(entry.to_dict()))
        self.log.say("unit", name=entry.name, **mean_losses(entry.records))

    def decision(self, name: str) -> Work | None:
        """What an earlier run decided about a unit. Raises :class:`~tersor.errors.OutputError`."""
        said = self._kept_decisions.get(name)
        if said is None:
            return None
        tensors = read_snapshot(self._place.root / said["file"], said["digest"])
        modules = {module.module: module for module in self._plan.quantized()}
        return put_together(tensors, said["work"], modules)

    def decide(self, name: str, work: Work) -> None:
        """Something was decided about a unit; it is kept with the next :meth:`commit`."""
        if self._writer is None:
            return
        tensors, said = taken_apart(work)
        number = len(self._kept_decisions) + len(self._decided)
        file = f"decided-{number:05d}.safetensors"
        digest = self._write(file, tensors)
        kept = {"name": name, "file": file, "digest": digest, "work": said}
        self._decided.append(self._timed(kept))
        self.log.say("unit", name=name)

    def passage(self) -> Passage | None:
        """How far the text had come. Raises :class:`~tersor.errors.OutputError`."""
        kept = self._passage
        if kept is None:
            return None
        tensors = read_snapshot(self._place.root / kept["file"], kept["digest"])
        return Passage(
            kept["blocks"],
            tensors["hidden"],
            tensors.get("original"),
            tuple(kept["unscaled"]),
            kept["spilled"],
        )

    def passed(self, passage: Passage, *, last: bool) -> None:
        """A block is behind the text: keep it, with the units since, unless the disk is busy.

        The ``last`` block is waited for. Raises :class:`~tersor.errors.OutputError`.
        """
        if self._writer is None or (self._busy() and not last):
            return
        self._wait()
        file = f"activations-{passage.blocks:05d}.safetensors"
        digest = self._write(file, passage.tensors())
        kept = {
            "file": file,
            "digest": digest,
            "blocks": passage.blocks,
            "unscaled": list(passage.unscaled),
            "spilled": passage.spilled,
        }
        self._commit(kept)

    def commit(self, *, last: bool = False) -> None:
        """Keep what was finished since, unless the disk is busy; ``last``: whatever it takes.

        Not between blocks. Raises :class:`~tersor.errors.OutputError`.
        """
        if self._busy() and not last:
            return
        self._wait()
        if self._units or self._decided:
            self._commit(None)
        if last:
            self._wait()

    def steps(self, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None]:
        """``progress`` of a training, which the log hears too."""

        def heard(done: int, total: int) -> None:
            self.log.step(done, total)
            if progress is not None:
                progress(done, total)

        return heard

    def complete(self) -> None:
        """All that is left is to give the result its name."""
        if not self.published:
            self._place.journal.add({"complete": True})

    def end(self) -> None:
        """Wait for the disk, whatever comes of it."""
        self._thread.shutdown(wait=True)

    def _timed(self, said: dict[str, Any]) -> dict[str, Any]:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return said | {"seconds": round(seconds, 3)}

    def _write(self, file: str, tensors: Mapping[str, Any]) -> str:
        path = self._place.root / file
        digest = write_snapshot(path.with_name(file + _NEW), tensors)
        self._files.append(path)
        return digest

    def _busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def _wait(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def _commit(self, passage: dict[str, Any] | None) -> None:
        assert self._writer is not None
        lists = {"units": self._units, "decided": self._decided}
        entry: dict[str, Any] = {key: found for key, found in lists.items() if found}
        entry["tensors"] = self._writer.added()
        old = None
        if passage is not None:
            entry["passage"] = passage
            old = self._passage
            self._passage = passage
        self._kept_decisions |= {said["name"]: said for said in self._decided}
        files, self._units, self._decided, self._files = self._files, [], [], []
        self._running = self._thread.submit(self._make_durable, entry, files, old)

    def _make_durable(
        self, entry: dict[str, Any], files: list[Path], old: dict[str, Any] | None
    ) -> None:
        assert self._writer is not None
        for file in files:
            make_durable(file.with_name(file.name + _NEW), file)
        self._writer.sync()
        self._place.sync()
        self._place.journal.add(entry)
        self._place.keep = True
        self.log.say("kept", units=[said["name"] for said in entry.get("units", ())])
        if old is not None:
            (self._place.root / old["file"]).unlink(missing_ok=True)


def _planned(plan: Plan) -> list[list[Any]]:
    """Name of every unit, bytes that are read for it, whether it is a block."""
    block_of = plan.architecture.block_of
    return [
        [
            unit.name,
            sum(tensor.source.nbytes for tensor in unit.tensors),
            block_of(unit.tensors[0].source.name) is not None,
        ]
        for unit in plan.units
    ]


def _all(entries: Iterable[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    return [said for entry in entries for said in entry.get(key, ())]


def _last(entries: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any] | None:
    found = None
    for entry in entries:
        found = entry.get(key, found)
    return found
