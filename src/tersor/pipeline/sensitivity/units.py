"""What is quantized together: a linear, a block, or all linears of one role."""

from collections.abc import Iterable
from dataclasses import dataclass

from tersor.models.architecture import Architecture
from tersor.pipeline.sensitivity.roles import role_of


@dataclass(frozen=True)
class Unit:
    """``modules`` that are quantized together, called ``name``.

    ``role``: theirs, empty where they have several. ``block``: theirs, ``None`` where they are in
    several, or outside.
    """

    name: str
    role: str
    block: int | None
    modules: tuple[str, ...]


def units_of(architecture: Architecture, modules: Iterable[str], by: str) -> list[Unit]:
    """Modules in units; the head and the embedding are alone in any case."""
    groups: dict[str, list[str]] = {}
    for module in modules:
        block = architecture.block_of(f"{module}.weight")
        role = role_of(architecture, module)
        inside = f"{architecture.container}.{block}" if by == "block" else role
        name = module if block is None or by == "linear" else inside
        groups.setdefault(name, []).append(module)
    return [_unit(architecture, name, tuple(members)) for name, members in groups.items()]


def _unit(architecture: Architecture, name: str, modules: tuple[str, ...]) -> Unit:
    roles = {role_of(architecture, module) for module in modules}
    blocks = {architecture.block_of(f"{module}.weight") for module in modules}
    role = roles.pop() if len(roles) == 1 else ""
    return Unit(name, role, blocks.pop() if len(blocks) == 1 else None, modules)
