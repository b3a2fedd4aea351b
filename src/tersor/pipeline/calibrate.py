"""Calibration text through the model, for recipes that look at activations."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tersor.calibration.capture import collect
from tersor.calibration.text import builtin_text, read_text, windows
from tersor.checkpoints.source import Source
from tersor.pipeline.activations import InputStatistics
from tersor.pipeline.plan import Plan
from tersor.ranges import MovingAverage


def calibrate(
    source: Source,
    plan: Plan,
    texts: Sequence[Path],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, InputStatistics]:
    """Statistics of every quantized linear's input; empty if the recipe needs none.

    ``texts``: files; without any, public-domain English that comes with tersor. Raises
    :class:`~tersor.errors.TextError` if they are too short.
    """
    if not plan.recipe.needs_calibration:
        return {}
    text = read_text(texts) if texts else builtin_text("calibration")
    budget = plan.recipe.calibration
    length = min(budget.window, budget.tokens)
    tokens = windows(source_tokenizer(source), text, length, max(1, budget.tokens // length))
    raise NotImplementedError(collect, MovingAverage, tokens)


def source_tokenizer(source: Source) -> Any:
    """The tokenizer that travels with a source, whatever its format."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="tersor-") as directory:
        source.copy_companions(Path(directory))
        return AutoTokenizer.from_pretrained(directory)
