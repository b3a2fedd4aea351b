"""Calibration text for a source: tokens in windows."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.calibration.text import builtin_text, read_text, windows
from tersor.checkpoints.files import write_json
from tersor.checkpoints.source import Source
from tersor.recipes import Calibration
from tersor.runtime.load import load_tokenizer


def calibration_tokens(
    source: Source, texts: Sequence[Path], budget: Calibration
) -> tuple[Tensor, list[str]]:
    """Windows int64 ``(n, window)`` and what there is to report about them.

    ``texts``: files; without any, public-domain English that comes with tersor. A text shorter than
    the budget gives what it has, and a note says so.

    Raises :class:`~tersor.errors.TextError` if it is too short for one window.
    """
    text = read_text(texts) if texts else builtin_text("calibration")
    tokens = calibration_windows(source_tokenizer(source), text, budget)
    wanted = max(1, budget.tokens // min(budget.window, budget.tokens))
    if len(tokens) == wanted:
        return tokens, []
    return tokens, [
        f"the calibration text has {tokens.numel()} tokens in whole windows, "
        f"{budget.tokens} were asked for"
    ]


def fitted(budget: Calibration, positions: int | None) -> tuple[Calibration, list[str]]:
    """The budget in windows that a model of ``positions`` can read, and what was shortened."""
    if positions is None or budget.window <= positions:
        return budget, []
    note = f"calibrated in windows of {positions} tokens, the most that the model reads"
    return replace(budget, window=positions), [note]


def calibration_windows(tokenizer: Any, text: str, budget: Calibration) -> Tensor:
    """int64 ``(windows, budget.window)``, at most ``budget.tokens`` tokens, at least one window."""
    length = min(budget.window, budget.tokens)
    return windows(tokenizer, text, length, budget.tokens // length)


def source_tokenizer(source: Source) -> Any:
    """The tokenizer that travels with a source, whatever its format.

    Raises :class:`SourceError` if there is none.
    """
    with tempfile.TemporaryDirectory(prefix="tersor-") as directory:
        source.copy_companions(Path(directory))
        write_json(Path(directory) / "config.json", source.config)
        return load_tokenizer(directory, name=str(source.path))
