"""What a run made."""

from dataclasses import dataclass
from pathlib import Path

from tersor.calibration.text import TextRecord
from tersor.pipeline.planning import Plan
from tersor.pipeline.writing.repetition import Repetition
from tersor.report import LayerRecord


@dataclass(frozen=True)
class Result:
    """The artifact and what it cost.

    ``source_digest``: of the source's weights. ``run_notes``: what calibration has to report.
    ``texts``: what it read. ``repetition``: how the result compares with that which the recipe was
    made with, if it says so. ``seconds``: wall time of quantizing, without imports.
    """

    directory: Path
    plan: Plan
    records: tuple[LayerRecord, ...]
    source_digest: str
    run_notes: tuple[str, ...] = ()
    texts: tuple[TextRecord, ...] = ()
    repetition: Repetition | None = None
    seconds: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: of the plan, of the run, and of single matrices."""
        noted = [record for record in self.records if record.note]
        summary = []
        for note in dict.fromkeys(record.note for record in noted):
            having = [record.module for record in noted if record.note == note]
            more = f" (and {len(having) - 1} more)" if len(having) > 1 else ""
            summary.append(f"{having[0]}{more}: {note}")
        return (*self.plan.notes, *self.run_notes, *summary)
