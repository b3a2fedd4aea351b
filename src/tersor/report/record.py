"""One record per matrix: what happened to it and what it cost."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from tersor.grids import ErrorParts


@dataclass(frozen=True)
class LayerRecord:
    """What happened to one matrix.

    ``shape``: ``(out, in)``. ``scheme`` is empty and ``reason`` set if it was kept as it is. Errors
    are mean squares in units of the weight squared; ``sqnr_db`` is signal to noise in decibels.
    ``digest`` identifies codes, scales and zero points. With calibration: ``tokens`` that the
    matrix read, ``output_error`` = ``E‖(W − Ŵ)x‖² / E‖Wx‖²``; ``note``: what went differently than
    asked.
    """

    module: str
    shape: tuple[int, int]
    scheme: str
    stored_bytes: int
    reason: str = ""
    sqnr_db: float | None = None
    rounding: float | None = None
    clipping: float | None = None
    zero_point: float | None = None
    largest_error: float | None = None
    digest: str = ""
    tokens: int | None = None
    output_error: float | None = None
    note: str = ""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight."""
        return 8 * self.stored_bytes / self.weights if self.weights else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; infinities, which JSON lacks, become ``None``."""
        values = asdict(self) | {"shape": list(self.shape)}
        sqnr = self.sqnr_db
        if sqnr is not None and abs(sqnr) == float("inf"):
            values["sqnr_db"] = None
        return values | {"bits_per_weight": round(self.bits_per_weight, 4)}


def with_errors(record: LayerRecord, parts: ErrorParts, digest: str) -> LayerRecord:
    """The record completed by what was measured."""
    return replace(
        record,
        sqnr_db=parts.sqnr_db,
        rounding=parts.rounding,
        clipping=parts.clipping,
        zero_point=parts.zero_point,
        largest_error=parts.largest,
        digest=digest,
    )


def with_calibration(
    record: LayerRecord, note: str, tokens: int, output_error: float | None
) -> LayerRecord:
    """The record completed by what calibration saw; ``tokens`` 0 where there was none."""
    return replace(record, note=note, tokens=tokens or None, output_error=output_error)
