"""Experts of a layer: a matrix each on disk, or all in one tensor."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import SourceError
from tersor.families.blocks import FusedExperts
from tersor.runtime.decoder.plan import Experts
from tersor.runtime.decoder.stored.linears import LinearReader
from tersor.runtime.decoder.stored.tensors import sound

_EXPERTS_AXES = 3


def add_experts(reader: LinearReader, plan: Experts, layer: int) -> str:
    """Make the linears of all experts of a layer, and the router; returns what that is called."""
    names, source = reader.names, reader.model.source
    for fused in plan.stacks:
        stored = _stored(reader, names.layer(layer, fused.name))
        if stored is not None:
            # Read when the first of its matrices is packed: those that are kept need nothing of it.
            stack = cache(partial(sound, source, stored))
            for part, name in enumerate(fused.parts):
                for expert in range(plan.count):
                    own = names.layer(layer, name.replace("*", str(expert)))
                    reader.stacked[own] = partial(_matrix, source.path, stack, fused, part, expert)
    share = plan.chosen / plan.count
    for expert in range(plan.count):
        for name in plan.of(expert):
            reader.add(names.layer(layer, name), False, share=share)
    reader.stacked.clear()
    if plan.shared_gate is not None and plan.shared:
        reader.add_router((names.layer(layer, plan.shared_gate),))
    return reader.add_router(tuple(names.layer(layer, name) for name in plan.router))


def _stored(reader: LinearReader, name: str) -> str | None:
    tensors = reader.model.source.tensors
    return next((n for n in (name, f"{name}.weight") if n in tensors), None)


def _matrix(
    path: object, whole: Callable[[], NDArray[Any]], fused: FusedExperts, part: int, expert: int
) -> NDArray[Any]:
    """The weight ``(out, in)`` of one part of one expert."""
    parts, stack = len(fused.parts), whole()
    if stack.ndim != _EXPERTS_AXES or expert >= len(stack):
        raise SourceError(
            f"{path}: tensor {fused.name} is {stack.shape}, not a matrix for each expert; download "
            "the checkpoint again"
        )
    matrix = stack[expert].T if fused.transposed else stack[expert]
    size = len(matrix) // parts
    rows = slice(part, None, parts) if fused.interleaved else slice(part * size, (part + 1) * size)
    return np.ascontiguousarray(matrix[rows])
