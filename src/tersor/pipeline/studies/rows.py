"""The rows of a comparison: what a model takes, what it lost on one text, how fast it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any

from tersor.checkpoints.source import Source
from tersor.evaluation import Evaluation
from tersor.pipeline.planning import Plan
from tersor.pipeline.studies.timing import Rates
from tersor.recipes.naming import ORIGINAL


@dataclass(frozen=True)
class CompareRow:
    """One recipe on one text; ``recipe`` is ``original`` for the model itself.

    ``bits_per_quantized_weight``: stored, scales and zero points included. ``bytes``: of all
    tensors. ``perplexity`` to ``top1_agreement``: as in :class:`~tersor.evaluation.Evaluation`,
    divergences in nats. ``seconds``: of quantizing. ``prefill``, ``decode``: tokens per second of
    the engine, ``None`` where it was not timed. ``best``: nothing smaller, or as small, loses less.
    ``tasks``: accuracies by the name of the task.
    """

    recipe: str
    scheme: str
    bits_per_quantized_weight: float
    bytes: int
    text: str
    perplexity: float
    kl_mean: float | None
    kl_median: float | None
    kl_p99: float | None
    top1_agreement: float | None
    seconds: float
    prefill: float | None = None
    decode: float | None = None
    best: bool = False
    tasks: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Every field in order, as a plain JSON value, each task as one of its own; a perplexity
        beyond float64 is ``None``.
        """
        values = {name: None if value == inf else value for name, value in asdict(self).items()}
        del values["tasks"]
        return values | {f"task {name}": value for name, value in self.tasks.items()}


def original_row(source: Source, evaluation: Evaluation) -> CompareRow:
    """The row of the unquantized model."""
    total = sum(info.nbytes for info in source.tensors.values())
    bits = {8 * info.dtype.itemsize for info in source.tensors.values()}
    return _row(ORIGINAL, "", float(max(bits)), total, evaluation, 0.0)


def recipe_row(plan: Plan, stored: int, evaluation: Evaluation, seconds: float) -> CompareRow:
    """The row of one recipe on one text; ``stored``: bytes of what was written."""
    return _row(
        plan.recipe.name,
        plan.recipe.scheme.name,
        plan.bits_per_quantized_weight,
        stored,
        evaluation,
        seconds,
    )


def with_measures(
    row: CompareRow, rates: Rates | None, accuracies: Mapping[str, float]
) -> CompareRow:
    """The row with what was timed and asked, if anything was."""
    if rates is not None:
        row = replace(row, prefill=_rounded(rates.prefill), decode=_rounded(rates.decode))
    return replace(row, tasks=dict(accuracies))


def with_best(rows: Iterable[CompareRow]) -> tuple[CompareRow, ...]:
    """The rows, those marked of which, on their text, no other is smaller and loses less."""
    listed = tuple(rows)
    made = [row for row in listed if row.recipe != ORIGINAL and row.kl_mean is not None]
    return tuple(
        replace(row, best=row in made and not any(_beats(other, row) for other in made))
        for row in listed
    )


def by_text(rows: Sequence[CompareRow]) -> dict[str, list[CompareRow]]:
    """Rows of each text, in order."""
    found: dict[str, list[CompareRow]] = {}
    for row in rows:
        found.setdefault(row.text, []).append(row)
    return found


def _beats(one: CompareRow, other: CompareRow) -> bool:
    """Whether ``one`` is no larger and loses no more, and is not just as good."""
    if one.text != other.text:
        return False
    first, second = (one.bytes, one.kl_mean or 0.0), (other.bytes, other.kl_mean or 0.0)
    return first[0] <= second[0] and first[1] <= second[1] and first != second


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


def _row(
    name: str, scheme: str, bits: float, total: int, found: Evaluation, seconds: float
) -> CompareRow:
    return CompareRow(
        recipe=name,
        scheme=scheme,
        bits_per_quantized_weight=round(bits, 4),
        bytes=total,
        text=found.texts[0],
        perplexity=found.perplexity,
        kl_mean=found.kl_mean,
        kl_median=found.kl_median,
        kl_p99=found.kl_p99,
        top1_agreement=found.top1_agreement,
        seconds=round(seconds, 2),
    )
