"""What the tiny model's parameters are called on disk, by transformers' own conversion."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from tersor.families.blocks import FusedExperts, canonical
from tersor.models.architecture import Architecture
from tersor.models.in_transformers.names import Names
from tersor.models.probing.tiny.blocks import Stored

_LATER_EXPERT = re.compile(r"\.(?!0\.)\d+\.")


@dataclass(frozen=True)
class Naming:
    """Canonical block-relative names in memory, without ``.weight``.

    ``on_disk``: those that a checkpoint holds as they are; ``published``: name in memory → on disk,
    where it is another. ``stacks``: experts of the tiny model, by their name in memory.
    """

    on_disk: frozenset[str]
    published: Mapping[str, str]
    stacks: tuple[FusedExperts, ...]


def naming(model: nn.Module, container: str, architecture: Architecture, stored: Stored) -> Naming:
    """For the blocks in ``container`` of the tiny model; one expert stands for all."""
    inside = {name: architecture.split(name) for name in stored}
    wanted = [n for n, (_, r) in inside.items() if not _LATER_EXPERT.search(f"{r}.")]
    names = Names(model, wanted)
    on_disk: set[str] = set()
    published: dict[str, str] = {}
    renamed = dict(architecture.renames)  # what lies on disk under the name it has in memory
    for name, slot in names.slots.items():
        block, relative = inside[name]
        in_memory = _relative(slot.parameter, container)
        if block is not None and in_memory is not None and slot.expert is None:
            on_disk.add(in_memory)
            own = canonical(renamed.get(relative, relative))
            if in_memory != own:
                published[in_memory] = own
    if not on_disk:  # names that begin otherwise than transformers knows
        on_disk = {canonical(relative) for block, relative in inside.values() if block is not None}
    return Naming(frozenset(on_disk), published, _stacks(model, container, architecture, names))


def _stacks(
    model: nn.Module, container: str, architecture: Architecture, names: Names
) -> tuple[FusedExperts, ...]:
    found: dict[str, FusedExperts] = {}
    for name, parameter in model.named_parameters():
        relative = _relative(name, container)
        if relative is None or parameter.ndim != 3 or relative in found:
            continue
        known = [f for f in architecture.fused_experts if relative in (f.parameter, f.name)]
        patterns = [_relative(pattern, container) for pattern in names.expert_patterns(name)]
        parts = known[0].parts if known else tuple(filter(None, patterns))
        if parts and set(parts) <= set(architecture.linears):
            layout = known[0] if known else FusedExperts(relative, parts)
            found[relative] = FusedExperts(relative, parts, layout.transposed, layout.interleaved)
    return tuple(found.values())


def _relative(name: str, container: str) -> str | None:
    """``model.layers.0.mlp.gate.weight`` → ``mlp.gate``; ``None`` outside the blocks."""
    if not name.startswith(f"{container}."):
        return None
    relative = name.removeprefix(f"{container}.").partition(".")[2]
    return canonical(relative.removesuffix(".weight"))
