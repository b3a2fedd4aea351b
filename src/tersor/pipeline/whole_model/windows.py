"""Calibration text for a source: tokens in windows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from tersor.calibration.text import TextFile, TextRecord, calibration_files, pack, windows_digest
from tersor.checkpoints.files import write_json
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.huggingface.companions import tokenizer_digest
from tersor.checkpoints.scratch import scratch_directory
from tersor.checkpoints.source import Source
from tersor.pipeline.whole_model.arithmetic import arithmetic
from tersor.recipes import Calibration


@dataclass(frozen=True, eq=False)
class CalibrationText:
    """Windows int64 ``(n, window)``, what there is to report of them, and where they are from."""

    tokens: Tensor
    notes: tuple[str, ...]
    record: TextRecord


def calibration_text(
    source: Source, texts: Sequence[TextFile], budget: Calibration, done: str = "calibrated"
) -> CalibrationText:
    """Texts as ``source`` reads them, as much as the budget says.

    ``texts``: without any, the mixture of free texts that comes with tersor. Texts shorter
    than the budget give what they have, and a note says so. ``done``: what is done, for notes.

    Raises :class:`~tersor.errors.TextError` if they are too short for one window, or cannot be
    read.
    """
    length, wanted = window_sizes(budget)
    tokenizer, identity = source_tokenizer(source)
    packed = pack(tokenizer, texts or calibration_files(), length, wanted)
    notes = [f"{done} on {note}" for note in packed.notes]
    if len(packed.tokens) < wanted:
        notes.append(
            f"the calibration text has {packed.tokens.numel()} tokens in whole windows, "
            f"{budget.tokens} were asked for"
        )
    record = TextRecord(
        done,
        packed.uses,
        window=length,
        windows=len(packed.tokens),
        first_tokens=packed.first_tokens,
        sha256=windows_digest(packed.tokens),
        tokenizer=identity,
        arithmetic=arithmetic(budget.precision),
    )
    return CalibrationText(packed.tokens, tuple(notes), record)


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


def source_tokenizer(source: Source) -> tuple[Any, str]:
    """The tokenizer that travels with a source, whatever its format, and the digest of its files.

    Raises :class:`SourceError` if there is none.
    """
    with scratch_directory() as directory:
        source.copy_companions(directory)
        write_json(directory / "config.json", source.config)
        tokenizer = load_tokenizer(directory, name=str(source.path))
        return tokenizer, tokenizer_digest(directory)
