"""Recipes that look at activations: calibration text through the model while it is quantized."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tersor.calibration.blocks import windows_per_piece
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.skeleton import Decoder
from tersor.calibration.text import check_windows
from tersor.checkpoints.source import Source
from tersor.models.metamodel import longest_context
from tersor.pipeline.block_rounder import BlockRounder, Emit
from tersor.pipeline.calibrate import calibration_tokens, fitted
from tersor.pipeline.head import head_work, quantized_head
from tersor.pipeline.plan import Plan, Unit
from tersor.pipeline.training import train
from tersor.pipeline.work import Work
from tersor.training import Checkpoint


def calibrated_works(
    source: Source,
    plan: Plan,
    texts: Sequence[Path],
    emit: Emit,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[str]:
    """Decide every unit of ``plan``, in order, and hand each to ``emit``.

    ``texts``: files; without any, the mixture that comes with tersor. ``progress`` counts
    blocks, then steps of training. ``checkpoint``: of the training. Returns what is to be reported.

    Raises :class:`~tersor.errors.TextError` if the text is too short for one window, and
    :class:`~tersor.errors.SourceError` for a model that cannot be run.
    """
    decoder = Decoder(source, plan.architecture)
    budget, shortened = fitted(plan.recipe.calibration, longest_context(decoder.module.config))
    plan = replace(plan, recipe=replace(plan.recipe, calibration=budget))
    settings = plan.recipe.training
    if settings is None:
        return [*shortened, *_decide(source, plan, decoder, texts, emit, progress)]
    decided: list[tuple[Unit, Work]] = []
    notes = _decide(source, plan, decoder, texts, lambda *found: decided.append(found), progress)
    notes = [*shortened, *notes]
    budget = replace(budget, tokens=settings.tokens)
    tokens, more = calibration_tokens(source, texts, budget, "trained")
    trained, told = train(source, plan, decided, tokens, settings, progress, checkpoint)
    for unit, work in trained:
        emit(unit, work)
    return list(dict.fromkeys([*notes, *more, *told]))


def _decide(
    source: Source,
    plan: Plan,
    decoder: Decoder,
    texts: Sequence[Path],
    emit: Emit,
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Rounding, block by block; the same arguments and result."""
    budget = plan.recipe.calibration
    tokens, notes = calibration_tokens(source, texts, budget)
    check_windows(
        tokens,
        str(source.path),
        vocabulary=getattr(decoder.module.config, "vocab_size", None),
        positions=longest_context(decoder.module.config),
        flag="--window",
    )
    memory = ActivationMemory(int(budget.memory * 1e9))
    before, after = _outside(plan)
    for unit in before:
        emit(unit, Work())
    rounder = BlockRounder(source, plan, decoder, memory, emit)
    final = decoder.walk(
        tokens,
        rounder.visit,
        rows=windows_per_piece(tokens.shape[1]),
        memory=memory,
        dtype=budget.precision.dtype(),
        progress=progress,
    )
    wanted = any(quantized_head(plan, unit) for unit in after)
    inputs = [piece.flatten(0, 1) for piece in final if wanted]
    for unit in after:
        emit(unit, head_work(source, plan, unit, inputs))
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


def _outside(plan: Plan) -> tuple[list[Unit], list[Unit]]:
    """Units before the blocks and after them."""
    block_of = plan.architecture.block_of
    blocks = [i for i, u in enumerate(plan.units) if block_of(u.tensors[0].source.name) is not None]
    return list(plan.units[: blocks[0]]), list(plan.units[blocks[-1] + 1 :])
