"""Experts that few calibration tokens reached: their siblings' statistics make up for the rest.

A second moment of fewer rows than it has columns is singular, and what is rounded by it is good for
those rows alone. All experts of a block read rows of the same hidden states (or of the same kind of
product), so what one lacks is likely to be like what the others saw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from tersor.calibration.stages import Stage
from tersor.families.blocks import canonical
from tersor.pipeline.blocks.observation import observe
from tersor.ranges import Need, Needs, Observation

_NOT_LENT = frozenset({Need.SAMPLE, Need.STREAM, Need.LARGEST})

Kind = tuple[str, ...]
Sums = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _Few:
    """Rows ``(tokens, in)`` of an expert's input, fewer than it has columns."""

    stage: Stage
    rows: Sequence[Tensor]


@dataclass(eq=False)
class Siblings:
    """What the experts of one block have seen, all together, by the kind of their weights."""

    _sums: dict[Kind, tuple[int, Sums]] = field(default_factory=dict)
    _few: list[_Few] = field(default_factory=list)

    def saw(self, stage: Stage, observed: Observation) -> None:
        """Add what one of the experts has seen; nothing for other linears."""
        kind = _kind(stage)
        if kind is None:
            return
        tokens, sums = self._sums.get(kind, (0, {}))
        for name, more in _sums_of(observed).items():
            sums[name] = sums[name].add_(more) if name in sums else more
        self._sums[kind] = tokens + observed.tokens, sums

    def put_off(self, stage: Stage, inputs: Sequence[Tensor], needs: Needs, columns: int) -> bool:
        """Whether a stage waits for its siblings; its ``inputs`` are kept until then."""
        tokens = sum(map(len, inputs))
        if tokens >= columns or _kind(stage) is None or not _lends(needs):
            return False
        self._few.append(_Few(stage, [rows.clone() for rows in inputs]))
        return True

    def few(self, unreached: Sequence[Stage]) -> Mapping[Stage, Sequence[Tensor]]:
        """The rows of every stage that was put off, and none of the experts of ``unreached``."""
        rows: dict[Stage, Sequence[Tensor]] = {one.stage: one.rows for one in self._few}
        return rows | {stage: () for stage in unreached if _kind(stage) in self._sums}

    def completed(
        self, stage: Stage, rows: Sequence[Tensor], needs: Needs, columns: int, window: int
    ) -> Observation | None:
        """What an expert would have seen of as many tokens as it has ``columns``, if any did.

        The rows that it lacks count as the mean of what its siblings saw. ``None`` if nobody saw
        anything, or something is needed that cannot be lent. ``tokens`` are the expert's own.
        """
        kind = _kind(stage)
        if kind is None or kind not in self._sums or not _lends(needs):
            return None
        own = observe(rows, needs, stage.weights[0], window) if rows else Observation()
        tokens, sums = self._sums[kind]
        others = tokens - own.tokens
        if others <= 0:
            return own if rows else None
        mine, lent = _sums_of(own), (columns - own.tokens) / others
        means = {
            name: ((total - mine[name]) * lent + mine[name] if name in mine else total * lent)
            / columns
            for name, total in sums.items()
        }
        return replace(
            own,
            hessian=means.get("hessian"),
            mean_square=means.get("mean_square"),
            mean=means.get("mean"),
            mean_magnitude=means.get("mean_magnitude"),
        )


def is_expert(stage: Stage) -> bool:
    """Whether a stage's weights are those of an expert."""
    return _kind(stage) is not None


def _kind(stage: Stage) -> Kind | None:
    """What the stage's weights are, whichever expert's; ``None`` if they are no expert's."""
    if stage.fused is not None:
        return (stage.fused[0],)
    kind = tuple(map(canonical, stage.modules))
    return None if kind == stage.modules else kind


def _lends(needs: Needs) -> bool:
    return bool(needs) and not needs & _NOT_LENT


def _sums_of(observed: Observation) -> Sums:
    """Every mean that was observed, times the tokens."""
    means = {
        "hessian": observed.hessian,
        "mean_square": observed.mean_square,
        "mean": observed.mean,
        "mean_magnitude": observed.mean_magnitude,
    }
    return {name: mean * observed.tokens for name, mean in means.items() if mean is not None}
