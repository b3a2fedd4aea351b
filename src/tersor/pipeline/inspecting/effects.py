"""A model run with and without the rounding of one weight, one row, one matrix."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from tersor.errors import SourceError
from tersor.evaluation.forward import check_fit
from tersor.explaining.effect import Effect, LogitShare, OutputShare
from tersor.machine.memory import refuse_beyond_memory
from tersor.models.experts import unfuse
from tersor.models.in_transformers.names import Names, Slot
from tersor.pipeline.inspecting.opened import Original
from tersor.pipeline.whole_model.windows import source_tokenizer
from tersor.runtime.load import load_source

# Of float32 sums on the way to a logit, in units of its last place; seen on a model of 30 blocks.
_NOISE = 16

# Loading counts as one.
_RUNS = 5

TEXT = "The capital of France is"


def effect_of(
    original: Original,
    module: str,
    place: tuple[int, int],
    weight: Tensor,
    restored: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Effect:
    """What happens at the end of :data:`TEXT` if ``weight (out, in)`` becomes ``restored``.

    Float32; the model is run four times, with nothing, the weight at ``place``, its row, and the
    whole matrix replaced. ``progress`` counts loading and the runs.

    Raises :class:`~tersor.errors.SourceError` if the model cannot be loaded, has no tokenizer, or
    does not hold the matrix as it is stored, :class:`~tersor.errors.TextError` if it does not read
    the words, and :class:`~tersor.errors.OutOfMemory`.
    """
    sizes = (prod(info.shape) for info in original.source.tensors.values())
    refuse_beyond_memory(4 * sum(sizes), "the model in float32", "--no-effect leaves this out")
    tokenizer, _ = source_tokenizer(original.source)
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    model: Any = load_source(original.source)
    check_fit(model, ids)
    runs = 1

    def logits_now() -> Tensor:
        nonlocal runs
        if progress is not None:
            progress(runs, _RUNS)
        runs += 1
        return _logits(model, ids)

    held, slot = _held(model, original, module)
    row, column = place
    with torch.inference_mode():
        with _input_seen(model, slot) as seen:
            logits = logits_now()
        top = int(logits.argmax())

        def moved(*part: int | slice) -> float:
            return float(_replaced(logits_now, held, part, restored)[top] - logits[top])

        every, logit = slice(None), float(logits[top])
        share = LogitShare(
            tokenizer.decode([top]),
            logit,
            by_weight=moved(row, column),
            by_row=moved(row, every),
            by_matrix=moved(every, every),
            resolution=_NOISE * float(torch.finfo(torch.float32).eps) * abs(logit),
        )
    last = tokenizer.decode([int(ids[0, -1])])
    output = _output(seen, weight, restored, row, column)
    return Effect(TEXT, ids.shape[1], last, output, share)


def _output(
    seen: list[Tensor], weight: Tensor, restored: Tensor, row: int, column: int
) -> OutputShare | None:
    if not seen or seen[-1].ndim < 2 or seen[-1].shape[-1] != weight.shape[1]:
        return None
    x = seen[-1].reshape(-1, weight.shape[1])[-1].double()
    before, after = weight[row].double(), restored[row].double()
    added = x * (after - before)
    return OutputShare(
        float(x[column]), float(x @ before), float(added[column]), float(added.sum())
    )


def _held(model: nn.Module, original: Original, module: str) -> tuple[Tensor, Slot]:
    """The matrix in memory as a view ``(out, in)``, and where it lies."""
    disk, name = original.holders[module], f"{module}.weight"
    names = Names(model, original.source.tensors)
    slot = names.slots.get(disk)
    if slot is not None:
        views = unfuse(original.architecture, disk, slot.view(model.get_parameter(slot.parameter)))
        if name in views:
            view = views[name].detach()
            return (view.T if original.architecture.is_transposed(name) else view), slot
    raise SourceError(
        f"{original.source.path}: transformers joins {name} with other tensors while it loads, so "
        "it cannot be replaced alone"
    )


@contextmanager
def _input_seen(model: nn.Module, slot: Slot) -> Iterator[list[Tensor]]:
    """What the module that holds the matrix alone is called with; empty for experts of a stack."""
    seen: list[Tensor] = []
    path = slot.parameter.rpartition(".")[0]
    module = model.get_submodule(path)
    alone = slot.expert is None and model.get_parameter(slot.parameter).ndim == 2
    if not alone or isinstance(module, nn.Embedding):
        yield seen
        return
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        yield seen
    finally:
        hook.remove()


def _replaced(
    run: Callable[[], Tensor], held: Tensor, part: tuple[int | slice, ...], restored: Tensor
) -> Tensor:
    """What is run gives with ``part`` of the matrix as it is restored; it is left as it was."""
    before = held[part].clone()
    held[part] = restored[part]
    try:
        return run()
    finally:
        held[part] = before


def _logits(model: Any, ids: Tensor) -> Tensor:
    """Of the last position, float32 ``(vocab,)``."""
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    if not bool(logits.isfinite().all()):
        raise SourceError("logits hold NaN or infinity; a weight or an activation overflows")
    return logits
