"""What one finished unit adds to a result, as a value and as a line of the journal."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from tersor.checkpoints.source import TensorInfo
from tersor.report.record import LayerRecord


@dataclass(frozen=True)
class UnitEntry:
    """A unit that is written.

    ``digests``: of the original's tensors, by name; ``written``: of quantized linears and of other
    tensors. ``widened``: scales that are float32, because float16 could not hold them.
    """

    name: str
    records: list[LayerRecord] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    widened: list[TensorInfo] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; floats keep every bit, NaN and infinity included."""
        return {
            "name": self.name,
            "records": [asdict(record) for record in self.records],
            "digests": self.digests,
            "written": self.written,
            "widened": [[i.name, str(i.dtype), list(i.shape)] for i in self.widened],
        }

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "UnitEntry":
        """The value that :meth:`to_dict` told of."""
        return cls(
            said["name"],
            [LayerRecord(**(r | {"shape": tuple(r["shape"])})) for r in said["records"]],
            said["digests"],
            said["written"],
            [
                TensorInfo(name, getattr(torch, dtype.removeprefix("torch.")), tuple(shape))
                for name, dtype, shape in said["widened"]
            ],
        )
