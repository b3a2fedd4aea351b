"""Recipes that look at activations: calibration text through the model while it is quantized."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tersor.calibration.blocks import windows_per_piece
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.calibration.text import TextFile, TextRecord, check_windows
from tersor.checkpoints.source import Source
from tersor.models.in_transformers.metamodel import longest_context
from tersor.pipeline.blocks.loop import BlockRounder, Emit
from tersor.pipeline.blocks.work import Work
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import Plan, Unit
from tersor.pipeline.whole_model.course import Course, Decisions
from tersor.pipeline.whole_model.head import head_work, quantized_head
from tersor.pipeline.whole_model.training import train
from tersor.pipeline.whole_model.windows import CalibrationText, calibration_text, fitted


@dataclass(frozen=True)
class Calibrated:
    """What a calibrated run has to report: notes, and the texts it read."""

    notes: tuple[str, ...] = ()
    texts: tuple[TextRecord, ...] = ()


def calibrated_works(
    source: Source,
    plan: Plan,
    texts: Sequence[TextFile],
    emit: Emit,
    progress: Callable[[int, int], None] | None = None,
    recorder: Recorder | None = None,
) -> Calibrated:
    """Decide every unit of ``plan``, in order, and hand each to ``emit``.

    ``texts``: without any, the mixture that comes with tersor. ``progress`` counts blocks, then
    steps of training. ``recorder``: keeps what is finished, and has what an earlier run finished.

    Raises :class:`~tersor.errors.TextError` if the text is too short for one window, and
    :class:`~tersor.errors.SourceError` for a model that cannot be run.
    """
    decoder = Decoder(source, plan.architecture)
    budget, shortened = fitted(plan.recipe.calibration, longest_context(decoder.module.config))
    plan = replace(plan, recipe=replace(plan.recipe, calibration=budget))
    read = calibration_text(source, texts, budget)
    settings = plan.recipe.training
    if settings is None:
        notes = _decide(source, plan, decoder, read, emit, progress, recorder)
        return Calibrated((*shortened, *notes), (read.record,))
    decisions = Decisions(plan.units, recorder)
    notes = _decide(source, plan, decoder, read, decisions.add, progress, recorder)
    budget = replace(budget, tokens=settings.tokens)
    more = calibration_text(source, texts, budget, "trained")
    kept = None if recorder is None else recorder.checkpoint
    steps = progress if recorder is None else recorder.steps(progress)
    trained, told = train(source, plan, decisions.all(), more.tokens, settings, steps, kept)
    for unit, work in trained:
        emit(unit, work)
        if recorder is not None:
            recorder.commit()
    found = dict.fromkeys([*shortened, *notes, *more.notes, *told])
    return Calibrated(tuple(found), (read.record, more.record))


def _decide(
    source: Source,
    plan: Plan,
    decoder: Decoder,
    read: CalibrationText,
    emit: Emit,
    progress: Callable[[int, int], None] | None,
    recorder: Recorder | None,
) -> list[str]:
    """Rounding, block by block; returns what is to be reported."""
    budget, tokens = plan.recipe.calibration, read.tokens
    notes = [*read.notes, *_too_few(plan, tokens.numel())]
    check_windows(
        tokens,
        str(source.path),
        vocabulary=getattr(decoder.module.config, "vocab_size", None),
        positions=longest_context(decoder.module.config),
        flag="--window",
    )
    memory = ActivationMemory(int(budget.memory * 1e9))
    before, after = _outside(plan)
    rounder = BlockRounder(source, plan, decoder, memory, emit)
    course = Course(rounder, memory, emit, recorder)
    for unit in before:
        course.outside(unit, lambda _: Work())
    final = decoder.walk(
        tokens,
        partial(course.visit, last=plan.architecture.blocks - 1),
        rows=windows_per_piece(tokens.shape[1]),
        memory=memory,
        dtype=budget.precision.dtype(),
        progress=progress,
        enter=course.enter,
    )
    wanted = any(quantized_head(plan, unit) for unit in after)
    inputs = [piece.flatten(0, 1) for piece in final if wanted]
    for unit in after:
        course.outside(unit, partial(head_work, source, plan, inputs=inputs))
    if rounder.unscaled:
        more = f" (and {len(rounder.unscaled) - 1} more)" if len(rounder.unscaled) > 1 else ""
        notes.append(
            f"{rounder.unscaled[0]}{more}: not scaled, because what its readers see is not finite "
            "or no calibration token reached them"
        )
    if memory.spilled:
        # Not how much: that depends on which thread came first.
        notes.append(f"activations beyond {budget.memory:g} GB went through temporary files")
    return notes


def _too_few(plan: Plan, tokens: int) -> list[str]:
    """A note if there are fewer tokens than a matrix has columns.

    Second moments of so few are singular, and any other statistic is one of little.
    """
    blocks = plan.architecture.block_of
    inside = [m for m in plan.quantized() if blocks(f"{m.module}.weight") is not None]
    widest = max(inside, key=lambda module: module.shape[1], default=None)
    if widest is None or tokens >= widest.shape[1]:
        return []
    return [
        f"{tokens} calibration tokens are fewer than the {widest.shape[1]} columns of "
        f"{widest.module}: what so few show is chance; give more (--tokens, and text for them)"
    ]


def _outside(plan: Plan) -> tuple[list[Unit], list[Unit]]:
    """Units before the blocks and after them."""
    block_of = plan.architecture.block_of
    blocks = [i for i, u in enumerate(plan.units) if block_of(u.tensors[0].source.name) is not None]
    return list(plan.units[: blocks[0]]), list(plan.units[blocks[-1] + 1 :])
