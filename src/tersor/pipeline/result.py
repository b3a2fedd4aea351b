"""What a run made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.calibration.text import TextRecord
from tersor.pipeline.planning import Plan
from tersor.pipeline.writing.repetition import Repetition, source_name
from tersor.report import LayerRecord, damaged
from tersor.version import own_version, versions


@dataclass(frozen=True)
class QuantizeResult:
    """The artifact that was made of ``model`` in ``directory``, and what it cost.

    ``layers``: one record per matrix. ``source_digest``: of the source's weights. ``run_notes``:
    what calibration has to report. ``calibration``: what it read. ``repetition``: how the result
    compares with that which the recipe was made with, if it says so. ``seconds``: wall time of
    quantizing, without imports.
    """

    model: Path
    directory: Path
    plan: Plan
    layers: tuple[LayerRecord, ...]
    source_digest: str
    run_notes: tuple[str, ...] = ()
    calibration: tuple[TextRecord, ...] = ()
    repetition: Repetition | None = None
    seconds: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: of the plan, of the run, and of single matrices."""
        noted = [record for record in self.layers if record.note]
        summary = []
        for note in dict.fromkeys(record.note for record in noted):
            having = [record.module for record in noted if record.note == note]
            more = f" (and {len(having) - 1} more)" if len(having) > 1 else ""
            summary.append(f"{having[0]}{more}: {note}")
        return (*self.plan.notes, *self.run_notes, *summary)

    def to_dict(self) -> dict[str, Any]:
        """The record, and what only this run says; plain JSON types."""
        own = {"version": own_version(), "model": str(self.model), "directory": str(self.directory)}
        repeated = None if self.repetition is None else self.repetition.to_dict()
        budget = {} if self.plan.budget is None else {"budget": self.plan.budget.to_dict()}
        took = {"seconds": round(self.seconds, 3), "repetition": repeated}
        return own | self.record() | took | budget

    def record(self) -> dict[str, Any]:
        """``tersor.json``: where the artifact comes from and what happened to each matrix.

        Nothing in it depends on when, where or how fast it was made: same input and arithmetic,
        same bytes.
        """
        plan = self.plan
        return {
            "versions": versions(),
            "source": {"name": source_name(self.model), "digest": self.source_digest},
            "digest": None if plan.recipe.made is None else plan.recipe.made.result,
            "calibration": [text.to_dict() for text in self.calibration],
            "seed": plan.recipe.seed,
            "recipe": plan.recipe.name,
            "format": plan.format,
            "bytes": plan.bytes,
            "source_bytes": plan.source_bytes,
            "bits_per_weight": round(plan.bits_per_weight, 4),
            "bits_per_quantized_weight": round(plan.bits_per_quantized_weight, 4),
            "readers": [reading.to_dict() for reading in plan.readings()],
            "damaged": [_damage(record) for record in damaged(self.layers)],
            "notes": list(self.notes),
            "layers": [record.to_dict() for record in self.layers],
        }


def _damage(record: LayerRecord) -> dict[str, Any]:
    """JSON has no infinities: a matrix without signal has no ``sqnr_db``, but ``damage``."""
    return {
        "module": record.module,
        "damage": record.damage,
        "sqnr_db": record.to_dict()["sqnr_db"],
        "output_error": record.output_error,
    }
