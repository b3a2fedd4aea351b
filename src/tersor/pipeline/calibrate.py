"""Calibration text for a source: tokens in windows."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tersor.calibration.text import calibration_files, open_text, pack
from tersor.checkpoints.files import write_json
from tersor.checkpoints.source import Source
from tersor.recipes import Calibration
from tersor.runtime.load import load_tokenizer


def calibration_tokens(
    source: Source, texts: Sequence[Path], budget: Calibration, done: str = "calibrated"
) -> tuple[Tensor, list[str]]:
    """Windows int64 ``(n, window)`` and what there is to report about them.

    ``texts``: files; without any, the mixture of free texts that comes with tersor. Texts shorter
    than the budget give what they have, and a note says so. ``done``: what was done, for notes.

    Raises :class:`~tersor.errors.TextError` if they are too short for one window, or cannot be
    read.
    """
    files = [open_text(path) for path in texts] if texts else calibration_files()
    length, wanted = window_sizes(budget)
    packed = pack(source_tokenizer(source), files, length, wanted)
    notes = [f"{done} on {note}" for note in packed.notes]
    if len(packed.tokens) < wanted:
        notes.append(
            f"the calibration text has {packed.tokens.numel()} tokens in whole windows, "
            f"{budget.tokens} were asked for"
        )
    return packed.tokens, notes


def window_sizes(budget: Calibration) -> tuple[int, int]:
    """Tokens of a window and how many windows: at most ``budget.tokens`` in all, at least one."""
    length = min(budget.window, budget.tokens)
    return length, budget.tokens // length


def fitted(budget: Calibration, positions: int | None) -> tuple[Calibration, list[str]]:
    """The budget in windows that a model of ``positions`` can read, and what was shortened.

    Only the default window follows the model; another one was asked for, and is left as it is.
    """
    if positions is None or budget.window <= positions or budget.window != Calibration.window:
        return budget, []
    note = f"calibrated in windows of {positions} tokens, the most that the model reads"
    return replace(budget, window=positions), [note]


def source_tokenizer(source: Source) -> Any:
    """The tokenizer that travels with a source, whatever its format.

    Raises :class:`SourceError` if there is none.
    """
    with tempfile.TemporaryDirectory(prefix="tersor-") as directory:
        source.copy_companions(Path(directory))
        write_json(Path(directory) / "config.json", source.config)
        return load_tokenizer(directory, name=str(source.path))
