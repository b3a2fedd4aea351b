"""Choosing and folding the scales of a block's pairs, by SmoothQuant or AWQ."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.calibration.memory import ActivationMemory
from tersor.calibration.places import Place, stage_of
from tersor.calibration.stages import staged
from tersor.calibration.statistics.hessian import second_moment
from tersor.machine.parallel import in_order
from tersor.models.folding import fold
from tersor.models.pairs import Pair
from tersor.pipeline.blocks.parts import BlockParts
from tersor.transforms import (
    Awq,
    RoundTrip,
    SmoothQuant,
    awq_scale,
    smoothquant_scale,
)

_SAMPLE = 512


@dataclass(frozen=True, eq=False)
class Scaled:
    """What scaling did to a block.

    ``changed``: every tensor that is another now, fp32 by published name. ``left``: producers of
    pairs that would have been scaled if their inputs were anything to go by.
    """

    changed: dict[str, Tensor]
    left: tuple[str, ...]


def scale_block(
    parts: BlockParts,
    pairs: Sequence[Pair],
    places: Mapping[str, Place],
    settings: Awq | SmoothQuant,
    hidden: Tensor,
    memory: ActivationMemory,
) -> Scaled:
    """Fold a scale into every pair of a block; its function stays what it was.

    ``places``: of ``seen_at`` every pair. One forward of the block, whose output is dropped,
    shows what the consumers read. A pair none of whose consumers is quantized is left alone; so is
    one whose inputs were not finite, or whose expert no token reached.
    """
    wanted = {seen_at(p): p for p in pairs if any(c in parts.modules for c in p.consumers)}
    stages = [stage_of([(name, places[name])]) for name in wanted]
    chosen: list[tuple[Pair, Tensor]] = []
    with closing(staged(parts.call, hidden, None, stages, memory)) as forward:
        for stage, inputs in forward:
            pair = wanted[stage.weights[0]]
            scale = _scale(parts, pair, settings, inputs)
            if scale is not None:
                chosen.append((pair, scale))
    changed: dict[str, Tensor] = {}
    for pair, scale in chosen:
        folded = fold(parts.views, pair, scale)
        for name, tensor in folded.items():
            parts.views[name].copy_(tensor)
        changed |= folded
    done = {pair.producer for pair, _ in chosen}
    return Scaled(changed, tuple(p.producer for p in wanted.values() if p.producer not in done))


def seen_at(pair: Pair) -> str:
    """The weight that shows what a pair's consumers read: all of it, where experts read parts."""
    return pair.listeners[0] if pair.listeners else pair.consumers[0]


def _scale(
    parts: BlockParts, pair: Pair, settings: Awq | SmoothQuant, inputs: Sequence[Tensor]
) -> Tensor | None:
    """The scale of one pair; ``None`` if its inputs are nothing to go by."""
    seen = _look(inputs)
    if not bool(seen.amax.isfinite().all()):
        return None
    quantizers = {
        name: RoundTrip(module.scheme.weights, module.range, parts.dtypes[name])
        for name in pair.consumers
        if (module := parts.modules.get(name)) and module.scheme and module.range
    }
    if isinstance(settings, Awq):
        hessian = second_moment(inputs)
        if not bool(hessian.diagonal().isfinite().all()):
            return None
        return awq_scale(
            pair, parts.views, seen.mean_magnitude, hessian, settings, quantizers=quantizers
        )
    first = next(module for name in pair.consumers if (module := parts.modules.get(name)))
    return smoothquant_scale(
        pair,
        parts.views,
        seen.amax,
        settings,
        quantizers=quantizers,
        activations=first.scheme.activations if first.scheme else None,
        sample=_sample(inputs),
    )


@dataclass(frozen=True, eq=False)
class _Look:
    """Largest and mean magnitude of every channel, fp32 ``(in,)``."""

    amax: Tensor
    mean_magnitude: Tensor


def _look(inputs: Sequence[Tensor]) -> _Look:

    def one(x: Tensor) -> tuple[Tensor, Tensor]:
        magnitude = x.float().abs()
        return magnitude.amax(0), magnitude.sum(0, dtype=torch.float64)

    amax = torch.zeros(inputs[0].shape[-1])
    total = torch.zeros(inputs[0].shape[-1], dtype=torch.float64)
    for largest, summed in in_order(one, [x for x in inputs if len(x)]):
        amax = torch.maximum(amax, largest)
        total += summed
    tokens = max(1, sum(len(x) for x in inputs))
    return _Look(amax, (total / tokens).float())


def _sample(inputs: Sequence[Tensor]) -> Tensor:
    """Some 512 rows, evenly spaced over all pieces, fp32."""
    step = max(1, sum(len(x) for x in inputs) // _SAMPLE)
    return torch.cat([x[::step].float() for x in inputs])
