"""Choosing and folding the scales of a block's pairs."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from tersor.calibration.memory import ActivationMemory
from tersor.calibration.places import Place, stage_of
from tersor.calibration.stages import staged
from tersor.models.folding import fold
from tersor.models.pairs import Pair
from tersor.pipeline.blocks.observation import observe
from tersor.pipeline.blocks.parts import BlockParts
from tersor.recipes import Scaling
from tersor.transforms import RoundTrip


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
    scaling: Scaling,
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
            scale = _scale(parts, pair, scaling, inputs)
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
    parts: BlockParts, pair: Pair, scaling: Scaling, inputs: Sequence[Tensor]
) -> Tensor | None:
    """The scale of one pair; ``None`` if its inputs are nothing to go by."""
    quantizers = {
        name: RoundTrip(module.scheme.weights, module.range, parts.dtypes[name])
        for name in pair.consumers
        if (module := parts.modules.get(name)) and module.scheme and module.range
    }
    first = next(module for name in pair.consumers if (module := parts.modules.get(name)))
    activations = first.scheme.activations if first.scheme else None
    observed = observe(inputs, scaling.needs, first.module)
    return scaling.scale(pair, parts.views, observed, quantizers, activations)
