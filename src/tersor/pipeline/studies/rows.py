"""The rows of a comparison: what a model takes, and what it lost on one text."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from tersor.checkpoints.source import Source
from tersor.evaluation import Evaluation
from tersor.pipeline.planning import Plan
from tersor.recipes.naming import ORIGINAL


@dataclass(frozen=True)
class CompareRow:
    """One recipe on one text; ``recipe`` is ``original`` for the model itself.

    ``bits_per_quantized_weight``: stored, scales and zero points included. ``bytes``: of all
    tensors. ``perplexity`` to ``top1_agreement``: as in :class:`~tersor.evaluation.Evaluation`,
    divergences in nats. ``seconds``: of quantizing.
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

    def to_dict(self) -> dict[str, Any]:
        """Every field in order, as a plain JSON value; a perplexity beyond float64 is ``None``."""
        return {name: None if value == inf else value for name, value in asdict(self).items()}


def original_row(source: Source, evaluation: Evaluation) -> CompareRow:
    """The row of the unquantized model."""
    total = sum(info.nbytes for info in source.tensors.values())
    bits = {8 * info.dtype.itemsize for info in source.tensors.values()}
    return _row(ORIGINAL, "", float(max(bits)), total, evaluation, 0.0)


def recipe_row(plan: Plan, evaluation: Evaluation, seconds: float) -> CompareRow:
    """The row of one recipe on one text."""
    return _row(
        plan.recipe.name,
        plan.recipe.scheme.name,
        plan.bits_per_quantized_weight,
        plan.bytes,
        evaluation,
        seconds,
    )


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
