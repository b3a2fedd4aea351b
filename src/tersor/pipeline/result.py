"""What a run made."""

from dataclasses import dataclass
from pathlib import Path

from tersor.pipeline.plan import Plan
from tersor.report import LayerRecord


@dataclass(frozen=True)
class Result:
    """The artifact and what it cost. ``seconds``: wall time of quantizing, without imports."""

    directory: Path
    plan: Plan
    records: tuple[LayerRecord, ...]
    source_digest: str
    seconds: float = 0.0
