"""Matrices with one role (q_proj of every block, …) together: medians."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tersor.inspection.losses import GRANULARITIES, WIDTHS
from tersor.inspection.matrix import CodesView, MatrixView


@dataclass(frozen=True)
class Role:
    """Medians over the matrices with one role.

    ``reach``: largest weight in standard deviations; ``column_ratio``, ``input_ratio``: largest
    column, or input channel, against the median one; ``input_ratio`` ``None`` without activations.
    ``sqnr_db``: by width and granularity, ``"4 bits g64"``.
    """

    role: str
    matrices: int
    weights: int
    kurtosis: float
    reach: float
    column_ratio: float
    input_ratio: float | None
    sqnr_db: tuple[tuple[str, float | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "role": self.role,
            "matrices": self.matrices,
            "weights": self.weights,
            "kurtosis": self.kurtosis,
            "reach": self.reach,
            "column_ratio": self.column_ratio,
            "input_ratio": self.input_ratio,
            "sqnr_db": dict(self.sqnr_db),
        }


def roles_of(views: Iterable[MatrixView]) -> tuple[Role, ...]:
    """In the order in which the model has them."""
    members: dict[str, list[MatrixView]] = defaultdict(list)
    for view in views:
        members[view.role].append(view)
    return tuple(_role(role, found) for role, found in members.items())


def _role(role: str, views: Sequence[MatrixView]) -> Role:
    inputs = [view.inputs.ratio for view in views if view.inputs is not None]
    return Role(
        role,
        len(views),
        sum(view.weights for view in views),
        median(view.spread.kurtosis for view in views),
        median(view.spread.reach for view in views),
        median(view.columns.ratio for view in views),
        median(inputs) if inputs else None,
        tuple(
            (f"{bits} bits {granularity}", median_sqnr(views, bits, granularity))
            for bits in WIDTHS
            for granularity in GRANULARITIES
        ),
    )


def median_sqnr(views: Sequence[MatrixView], bits: int, granularity: str) -> float | None:
    """In decibels; ``None`` where nothing is lost anywhere."""
    found = [sqnr for view in views if (sqnr := view.sqnr(bits, granularity)) is not None]
    return median(found) if found else None


@dataclass(frozen=True)
class CodesRole:
    """Medians over the quantized matrices with one role and scheme."""

    role: str
    scheme: str
    matrices: int
    weights: int
    share_used: float
    entropy: float
    sqnr_db: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "role": self.role,
            "scheme": self.scheme,
            "matrices": self.matrices,
            "weights": self.weights,
            "share_used": self.share_used,
            "entropy": self.entropy,
            "sqnr_db": self.sqnr_db,
        }


def codes_roles_of(views: Iterable[CodesView]) -> tuple[CodesRole, ...]:
    """In the order in which the artifact has them."""
    members: dict[tuple[str, str], list[CodesView]] = defaultdict(list)
    for view in views:
        members[view.role, view.scheme].append(view)
    return tuple(_codes_role(*key, found) for key, found in members.items())


def _codes_role(role: str, scheme: str, views: Sequence[CodesView]) -> CodesRole:
    lost = [view.sqnr_db for view in views if view.sqnr_db is not None]
    return CodesRole(
        role,
        scheme,
        len(views),
        sum(view.weights for view in views),
        median(view.codes.share_used for view in views),
        median(view.codes.entropy for view in views),
        median(lost) if lost else None,
    )
