"""Fused expert tensors ↔ one matrix per expert.

Published Mixtral and Qwen3-MoE checkpoints hold one matrix per expert, and so does what
``save_pretrained`` writes for them by default. transformers 5 keeps them in memory as
``mlp.experts.gate_up_proj`` ``(experts, 2·intermediate, hidden)`` and ``mlp.experts.down_proj``
``(experts, hidden, intermediate)``, and writes those where a model was loaded from such a file or
saved with ``save_original_format=False``. Engines and the compressed-tensors format want one
matrix per expert under the published names.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.families.blocks import FusedExperts, Role, canonical
from tersor.models.architecture import Architecture
from tersor.models.describing import describe


def unfused_shapes(
    architecture: Architecture, name: str, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Published name → shape of what the tensor ``name`` on disk holds.

    A fused tensor ``(E, k·rows, in)`` becomes ``E·k`` matrices ``(rows, in)``, expert by expert;
    any other tensor is itself, under its published name. Raises ``SourceError`` if the rows do
    not divide among the parts.
    """
    fused = _fused(architecture, name, shape)
    if fused is None:
        return {_published(architecture, name): shape}
    experts, rows, columns = (shape[0], shape[2], shape[1]) if fused.transposed else shape
    size = _part_rows(fused, name, rows)
    return {
        part: (size, columns)
        for expert in range(experts)
        for part in _part_names(fused, name, expert)
    }


def unfuse(architecture: Architecture, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The same with data: views of ``tensor``, no copies."""
    fused = _fused(architecture, name, tuple(tensor.shape))
    if fused is None:
        return {_published(architecture, name): tensor}
    stacked = tensor.transpose(1, 2) if fused.transposed else tensor
    size = _part_rows(fused, name, stacked.shape[1])
    return {
        part: stacked[expert, _rows(fused, i, size)]
        for expert in range(stacked.shape[0])
        for i, part in enumerate(_part_names(fused, name, expert))
    }


def published_matrices(source: Source, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on disk with experts apart, by published name; views."""
    shapes = {name: info.shape for name, info in source.tensors.items()}
    architecture = describe(source.config, shapes)
    return {
        published: view
        for name, tensor in tensors.items()
        for published, view in unfuse(architecture, name, tensor).items()
    }


def fuse(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of ``unfuse`` over whole blocks: what the modules of transformers 5 hold.

    Every other tensor passes through, under its name in memory. Copies the experts. Raises
    ``SourceError`` if an expert or a part of one is missing.
    """
    rest = dict(tensors)
    merged: dict[str, Tensor] = {}
    for block in sorted({b for b in map(architecture.block_of, tensors) if b is not None}):
        for fused in architecture.fused_experts:
            name = f"{architecture.container}.{block}.{fused.name}"
            matrices = _take_experts(fused, name, rest)
            if matrices:
                merged[name] = torch.stack(matrices)
    _refuse_leftovers(architecture, rest)
    return {_in_memory(architecture, name): tensor for name, tensor in rest.items()} | merged


def _take_experts(fused: FusedExperts, name: str, rest: dict[str, Tensor]) -> list[Tensor]:
    """Remove the parts of one fused tensor from ``rest``: a ``(k·rows, in)`` per expert."""
    matrices: list[Tensor] = []
    while True:
        parts = _part_names(fused, name, len(matrices))
        present = [part for part in parts if part in rest]
        if not present:
            return matrices
        if len(present) < len(parts):
            missing = next(part for part in parts if part not in rest)
            raise SourceError(f"{missing} is missing beside {present[0]}: cannot fuse the experts")
        matrices.append(torch.cat([rest.pop(part) for part in parts]))


def _refuse_leftovers(architecture: Architecture, rest: Mapping[str, Tensor]) -> None:
    parts = {part for fused in architecture.fused_experts for part in fused.parts}
    for name in rest:
        block, relative = architecture.split(name)
        if block is not None and canonical(relative) in parts:
            raise SourceError(f"{name} has no expert before it: cannot fuse the experts")


def _fused(architecture: Architecture, name: str, shape: tuple[int, ...]) -> FusedExperts | None:
    if architecture.role(name, shape) is not Role.FUSED_EXPERTS:
        return None
    return architecture.fused(name)


def _part_rows(fused: FusedExperts, name: str, rows: int) -> int:
    size, remainder = divmod(rows, len(fused.parts))
    if remainder:
        raise SourceError(f"{name} has {rows} rows, which do not divide into {fused.parts}")
    return size


def _rows(fused: FusedExperts, part: int, size: int) -> slice:
    if fused.interleaved:
        return slice(part, None, len(fused.parts))
    return slice(part * size, (part + 1) * size)


def _part_names(fused: FusedExperts, name: str, expert: int) -> list[str]:
    prefix = name.removesuffix(".weight").removesuffix(fused.name.removesuffix(".weight"))
    return [f"{prefix}{part.replace('*', str(expert))}.weight" for part in fused.parts]


def _published(architecture: Architecture, name: str) -> str:
    return _renamed(architecture, name, dict(architecture.renames))


def _in_memory(architecture: Architecture, name: str) -> str:
    return _renamed(architecture, name, {new: old for old, new in architecture.renames})


def _renamed(architecture: Architecture, name: str, names: Mapping[str, str]) -> str:
    block, relative = architecture.split(name)
    if block is None or relative not in names:
        return name
    return architecture.full_name(block, names[relative])
