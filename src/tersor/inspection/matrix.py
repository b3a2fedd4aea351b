"""All there is to see of one matrix, as it is or as its codes are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from torch import Tensor

from tersor.grids import ErrorParts, QuantizedTensor, error_parts
from tersor.inspection.codes import CodeUse, code_use
from tersor.inspection.columns import Outliers, column_outliers
from tersor.inspection.distribution import Distribution, distribution
from tersor.inspection.losses import Loss, loss_jobs
from tersor.machine.parallel import in_order


@dataclass(frozen=True)
class MatrixView:
    """A matrix ``(out, in)`` of a model.

    ``block``: its number; ``role``: its name inside the block, with ``*`` for experts. ``columns``:
    largest weights of every column. ``losses``: rounded to nearest at several widths. ``inputs``:
    largest activation of every input channel; ``None`` if nothing was seen.
    """

    module: str
    block: int
    role: str
    shape: tuple[int, int]
    spread: Distribution
    columns: Outliers
    losses: tuple[Loss, ...]
    inputs: Outliers | None = None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def _by_name(self) -> Mapping[tuple[int, str], ErrorParts]:
        return {(one.bits, one.granularity): one.parts for one in self.losses}

    def loss(self, bits: int, granularity: str) -> ErrorParts | None:
        """The error at a width and granularity; ``None`` if its rows are too short for groups."""
        return self._by_name.get((bits, granularity))

    def sqnr(self, bits: int, granularity: str) -> float | None:
        """Its signal to noise in decibels; groups of short rows are their channel."""
        parts = self.loss(bits, granularity) or self.loss(bits, "channel")
        sqnr = None if parts is None else parts.sqnr_db
        return sqnr if sqnr is not None and isfinite(sqnr) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "module": self.module,
            "block": self.block,
            "role": self.role,
            "shape": list(self.shape),
            "distribution": self.spread.to_dict(),
            "columns": self.columns.to_dict(),
            "losses": [loss.to_dict() for loss in self.losses],
            "inputs": None if self.inputs is None else self.inputs.to_dict(),
        }


@dataclass(frozen=True)
class CodesView:
    """A quantized matrix ``(out, in)`` of an artifact.

    ``lost``: against the original, its parts by the ends of the grid; ``None`` without one.
    """

    module: str
    role: str
    shape: tuple[int, int]
    scheme: str
    codes: CodeUse
    lost: ErrorParts | None

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise against the original; ``None`` without one, or without any loss."""
        found = None if self.lost is None else self.lost.sqnr_db
        return found if found is not None and isfinite(found) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        lost = self.lost
        return {
            "module": self.module,
            "role": self.role,
            "shape": list(self.shape),
            "scheme": self.scheme,
            "codes": self.codes.to_dict(),
            "lost": None
            if lost is None
            else {
                "sqnr_db": self.sqnr_db,
                "mse": lost.mse,
                "rounding": lost.rounding,
                "clipping": lost.clipping,
                "largest_error": lost.largest,
            },
        }


def matrix_view(
    module: str, block: int, role: str, weight: Tensor, *, asymmetric: bool = False
) -> MatrixView:
    """Look at ``weight (out, in)``, of any float type, on all cores."""
    out_features, in_features = weight.shape
    jobs: list[Callable[[], Any]] = [
        lambda: distribution(weight),
        lambda: column_outliers(weight),
        *loss_jobs(weight, asymmetric=asymmetric),
    ]
    spread, columns, *lost = in_order(lambda job: job(), jobs)
    shape = (out_features, in_features)
    return MatrixView(module, block, role, shape, spread, columns, tuple(lost))


def codes_view(
    module: str, role: str, quantized: QuantizedTensor, weight: Tensor | None
) -> CodesView:
    """Look at a quantized matrix, beside the original ``weight (out, in)`` if there is one."""
    lost = None if weight is None else error_parts(weight, quantized)
    return CodesView(
        module, role, quantized.shape, str(quantized.scheme), code_use(quantized), lost
    )
