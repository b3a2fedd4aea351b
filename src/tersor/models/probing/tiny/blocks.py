"""Blocks on disk and in the tiny model: which kinds there are, and which list they are in."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tersor.families.blocks import canonical
from tersor.models.architecture import Architecture
from tersor.models.probing.tiny.miniature import NoMiniature, typed_config

Stored = Mapping[str, int]
"""Names on disk and their numbers of axes."""

_DEEPEST = 40


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a ``config.json``."""
    if not isinstance(config.get("text_config"), Mapping):
        return config
    outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return {**config["text_config"], **outer}


def kinds_of(architecture: Architecture, config: Mapping[str, Any], stored: Stored) -> list[int]:
    """The number of the first block of every kind: by its tensors and its place in lists."""
    names: dict[int, set[tuple[str, int]]] = {block: set() for block in range(architecture.blocks)}
    for name, ndim in stored.items():
        block, relative = architecture.split(name)
        if block is not None:
            names.setdefault(block, set()).add((canonical(relative), ndim))
    values = typed_config(config).to_dict()
    lists = [v for v in values.values() if isinstance(v, list) and len(v) == architecture.blocks]
    first: dict[object, int] = {}
    for block in range(architecture.blocks):
        kind = (frozenset(names[block]), *(repr(v[block]) for v in lists))
        first.setdefault(kind, block)
    return sorted(first.values())


def depth_of(architecture: Architecture, config: Mapping[str, Any], stored: Stored) -> int:
    """How many blocks, from the first, hold one of every kind; at least 2.

    Raises :class:`NoMiniature` where they are too many.
    """
    depth = max(2, *(first + 1 for first in kinds_of(architecture, config, stored)))
    if depth > _DEEPEST:
        raise NoMiniature(f"the first block of its last kind is number {depth - 1}")
    return depth


def block_list(model: nn.Module, depth: int, relatives: set[str]) -> tuple[str, nn.ModuleList]:
    """The blocks of the decoder: the list that shares most names with the checkpoint's."""
    lists = [
        (len(relatives & {n.removesuffix(".weight") for n in m[0].state_dict()}), name, m)
        for name, m in model.named_modules()
        if isinstance(m, nn.ModuleList) and len(m) == depth
    ]
    shared, name, blocks = max(lists, key=lambda found: found[0], default=(0, "", nn.ModuleList()))
    if not shared:
        raise NoMiniature("the tensors of the checkpoint have other names than those of its blocks")
    return name, blocks
