"""One record per matrix: what happened to it and what it cost."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tersor.grids import ErrorParts

# Half of a matrix, or of what it computes, is noise.
_LOST_DB, _LOST_OUTPUT = 3.0, 0.5


@dataclass(frozen=True)
class LayerRecord:
    """What happened to one matrix.

    ``shape``: ``(out, in)``. ``scheme`` is empty and ``reason`` set if it was kept as it is. Errors
    are mean squares in units of the weight squared; ``sqnr_db`` is signal to noise in decibels.
    ``digest`` identifies codes, scales and zero points. With calibration: ``tokens`` that the
    matrix read, ``output_error`` = ``E‖(W − Ŵ)x‖² / E‖Wx‖²``; ``aimed_db``: signal to noise against
    what was rounded in its place to make up for drift; ``note``: what went differently than asked.
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
    aimed_db: float | None = None
    note: str = ""

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight."""
        return 8 * self.stored_bytes / self.weights if self.weights else 0.0

    @property
    def damage(self) -> str:
        """What a matrix lost that lost half or more: SQNR under 3 dB, or that of its output.

        Empty for one that did not, or that was kept. A matrix that makes up for what earlier blocks
        lost is held against what it was aimed at: its own output may be the smaller part.
        """
        if self.aimed_db is not None:
            lost = self.aimed_db < _LOST_DB
            return f"SQNR {self.aimed_db:.3g} dB of what it was aimed at" if lost else ""
        if self.output_error is not None and self.output_error >= _LOST_OUTPUT:
            return f"{self.output_error:.0%} of its output's power is error"
        if self.sqnr_db is not None and self.sqnr_db < _LOST_DB:
            return f"SQNR {self.sqnr_db:.3g} dB"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; infinities and NaN, which JSON lacks, become ``None``."""
        values = {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(self).items()
        } | {"shape": list(self.shape)}
        return values | {"bits_per_weight": round(self.bits_per_weight, 4)}


def with_errors(record: LayerRecord, parts: "ErrorParts", digest: str) -> LayerRecord:
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
    if record.aimed_db is not None and (record.sqnr_db or 0.0) < _LOST_DB and not record.damage:
        said = "makes up for what earlier blocks lost more than it does what it did"
        note = "; ".join(filter(None, (note, said)))
    return replace(record, note=note, tokens=tokens or None, output_error=output_error)


def with_wide_scales(record: LayerRecord, stored_bytes: int) -> LayerRecord:
    """The record of a matrix that takes ``stored_bytes``, because its scales are float32."""
    said = "float16 cannot hold its scales: they are float32"
    note = "; ".join(filter(None, (record.note, said)))
    return replace(record, note=note, stored_bytes=stored_bytes)


def worst_first(records: Iterable[LayerRecord]) -> list[LayerRecord]:
    """Quantized matrices by what their weights lost; nothing lost comes last."""
    quantized = (record for record in records if record.sqnr_db is not None)
    return sorted(quantized, key=lambda record: record.sqnr_db or 0.0)


def damaged(records: Iterable[LayerRecord]) -> list[LayerRecord]:
    """Those that lost half or more of what they were, worst first."""
    return [record for record in worst_first(records) if record.damage]


def damage_warning(records: Iterable[LayerRecord]) -> str:
    """One line about matrices that lost half or more, and the way out; empty if there is none."""
    lost = damaged(records)
    if not lost:
        return ""
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return (
        f"{lost[0].module}{more}: {lost[0].damage}, so little is left of it; give it more bits or "
        f"smaller groups, or leave it as it is: --exclude {lost[0].module}"
    )
