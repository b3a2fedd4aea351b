"""What fields of results are called for people: one table for every table that is shown.

Python, JSON and CSV use the names of fields; Markdown and the terminal the headers of here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """``header`` with its unit, of which one is ``per_unit`` of the field's."""

    header: str
    per_unit: float = 1.0


COLUMNS: Mapping[str, Column] = {
    "bits_per_quantized_weight": Column("bits"),
    "bytes": Column("MB", 1e6),
    "nll_stderr": Column("± of nll"),
    "base_perplexity": Column("base"),
    "kl_mean": Column("KL"),
    "kl_median": Column("KL median"),
    "kl_p99": Column("KL p99"),
    "top1_agreement": Column("same top"),
    "rms_delta_p": Column("RMS Δp"),
}
"""By field; any other field is its own header. KL divergences are in nats."""


def for_people(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows by headers, for rows by fields; numbers in the headers' units."""
    return [dict(_shown(field, value) for field, value in row.items()) for row in rows]


def _shown(field: str, value: Any) -> tuple[str, Any]:
    column = COLUMNS.get(field, Column(field))
    if column.per_unit == 1.0 or not isinstance(value, int | float):
        return column.header, value
    return column.header, value / column.per_unit
