"""What was found: one figure per part of the model and scheme."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tersor.pipeline.sensitivity.roles import ATTENTION, FFN
from tersor.version import own_version, versions


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one part of a model alone does to its predictions.

    ``part``: a linear, a block or a role. ``role``: of its linears, if they have one; ``block``:
    likewise. ``linears``, ``weights``: how many. ``bytes``: stored, with scales. ``estimate``,
    ``exact``: mean KL divergence from the original, in nats; each ``None`` where it was not taken.
    """

    part: str
    role: str
    block: int | None
    scheme: str
    linears: int
    weights: int
    bytes: int
    estimate: float | None
    exact: float | None

    @property
    def kl(self) -> float:
        """The exact divergence, or else its estimate."""
        found = self.estimate if self.exact is None else self.exact
        assert found is not None
        return found


@dataclass(frozen=True)
class Contrast:
    """Attention against the FFN under one scheme: mean divergences, in nats.

    ``per_linear``: of a linear; ``per_weight``: of a million weights.
    """

    scheme: str
    attention_per_linear: float
    ffn_per_linear: float
    attention_per_weight: float
    ffn_per_weight: float

    def line(self) -> str:
        """A sentence: which of the two is more sensitive, per weight and per linear."""
        weight = self.attention_per_weight / self.ffn_per_weight
        linear = self.attention_per_linear / self.ffn_per_linear
        by_weight, by_linear = ("more" if ratio > 1 else "less" for ratio in (weight, linear))
        verdict = f"{by_weight} sensitive than the FFN"
        if by_weight != by_linear:
            verdict = f"{verdict} per weight and {by_linear} so per linear"
        return (
            f"{self.scheme}: attention is {verdict}: it loses {weight:.2g} times as much per "
            f"weight, and {linear:.2g} times as much per linear"
        )


@dataclass(frozen=True)
class SensitivityResult:
    """The sensitivities of ``model``, rounded as ``recipe`` does.

    ``by``: what a part is. ``score``: which estimate. ``text``: what was read, for people.
    ``positions``: predictions that a figure is the mean of. ``spearman``: rank correlation of
    estimate and exact divergence by scheme, and over all as ``""``, where both were taken.
    """

    model: Path
    recipe: str
    by: str
    score: str
    rows: tuple[Sensitivity, ...]
    text: str
    positions: int
    spearman: Mapping[str, float]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @cached_property
    def schemes(self) -> tuple[str, ...]:
        """Labels, in the order in which they were asked for."""
        return tuple(dict.fromkeys(row.scheme for row in self.rows))

    def of(self, scheme: str) -> list[Sensitivity]:
        """Rows of one scheme, the most sensitive first."""
        return sorted((r for r in self.rows if r.scheme == scheme), key=lambda row: -row.kl)

    def contrasts(self) -> list[Contrast]:
        """Attention against the FFN by scheme, where parts have roles and both are there."""
        found = (_contrast(scheme, self.of(scheme)) for scheme in self.schemes)
        return [one for one in found if one is not None]

    def by_role(self) -> list[dict[str, Any]]:
        """One row per role: how many linears and weights, and the sum of divergences by scheme."""
        roles = dict.fromkeys(row.role for row in self.rows if row.role)
        return [self._role(role) for role in roles]

    def _role(self, role: str) -> dict[str, Any]:
        rows = [row for row in self.rows if row.role == role]
        first = [row for row in rows if row.scheme == self.schemes[0]]
        sums = {
            scheme: sum(row.kl for row in rows if row.scheme == scheme) for scheme in self.schemes
        }
        linears = sum(row.linears for row in first)
        return {"role": role, "linears": linears, "weights": sum(r.weights for r in first), **sums}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "recipe": self.recipe,
            "versions": versions(),
            "by": self.by,
            "score": self.score,
            "text": self.text,
            "positions": self.positions,
            "schemes": list(self.schemes),
            "spearman": dict(self.spearman),
            "contrasts": [asdict(one) for one in self.contrasts()],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "rows": [asdict(row) for row in self.rows],
        }


def spearman(rows: Iterable[Sensitivity]) -> dict[str, float]:
    """Rank correlation of estimate and exact divergence; of schemes with three rows at least.

    Head and embedding are left out: they are measured in either case.
    """
    from scipy.stats import spearmanr

    both = [
        row
        for row in rows
        if row.estimate is not None
        and row.exact is not None
        and row.role not in ("head", "embedding")
    ]
    found = {}
    for scheme in ("", *dict.fromkeys(row.scheme for row in both)):
        of = [row for row in both if scheme in ("", row.scheme)]
        if len(of) > 2:
            value = float(spearmanr([r.estimate for r in of], [r.exact for r in of]).statistic)
            found[scheme] = round(value, 4)
    return found


def _contrast(scheme: str, rows: Iterable[Sensitivity]) -> Contrast | None:
    rows = list(rows)
    attention = [row for row in rows if row.role in ATTENTION]
    ffn = [row for row in rows if row.role in FFN]
    if not sum(row.kl for row in attention) or not sum(row.kl for row in ffn):
        return None
    both = (attention, ffn)
    return Contrast(scheme, *map(_per_linear, both), *map(_per_weight, both))


def _per_linear(rows: list[Sensitivity]) -> float:
    return sum(row.kl for row in rows) / sum(row.linears for row in rows)


def _per_weight(rows: list[Sensitivity]) -> float:
    return 1e6 * sum(row.kl for row in rows) / sum(row.weights for row in rows)
