"""What the modules of a checkpoint are called in the model that transformers makes of it.

Readers of ``config.json`` look for modules by one name or the other: vLLM and tersor by those on
disk, transformers by those in memory. They differ in most models with images.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tersor.models.in_transformers.metamodel import Unbuildable, build
from tersor.models.in_transformers.names import Names


@dataclass(frozen=True)
class InMemory:
    """``modules``: name on disk → name in memory, of those that are modules of their own there.

    ``linears``: all linears in memory, whatever they are called on disk.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    linears: frozenset[str] = frozenset()


def modules_in_memory(model: nn.Module, modules: Iterable[str]) -> dict[str, str]:
    """Module on disk → module in memory, where it is one of its own and no expert of a stack."""
    found = Names(model, [f"{module}.weight" for module in modules])
    return {
        disk.removesuffix(".weight"): slot.parameter.removesuffix(".weight")
        for disk, slot in found.slots.items()
        if slot.expert is None
    }


def in_memory(config: Mapping[str, Any], modules: Iterable[str]) -> InMemory:
    """The same from ``config.json``; empty if transformers builds no such model."""
    try:
        model = build(config)
    except Unbuildable:
        return InMemory()
    linears = frozenset(n for n, m in model.named_modules() if isinstance(m, nn.Linear))
    return InMemory(modules_in_memory(model, modules), linears)
