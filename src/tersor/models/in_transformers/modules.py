"""What the modules that transformers would build say of the tensors on disk.

A matrix is a linear if a linear module holds it, or if it is one expert of a stacked parameter. A
router is found by where it stands: beside experts, with a row for each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from tersor.families.blocks import FusedExperts, canonical
from tersor.models.in_transformers.metamodel import Unbuildable, build
from tersor.models.in_transformers.names import Names

_BY_NAME = "linears found by name and shape, taken to be stored (out, in)"


class ModuleKind(StrEnum):
    """What holds a tensor."""

    LINEAR = "nn.Linear"
    CONV1D = "Conv1D"
    EXPERT = "an expert of a stacked parameter"
    ROUTER = "router"
    CHANGED = "taken apart or joined while it is loaded"
    OTHER = "other"


@dataclass(frozen=True)
class ModuleFacts:
    """Of the blocks of one container; names are block-relative, canonical and without ``.weight``.

    ``kinds``: of every tensor that becomes a parameter. ``fused``: stacked experts on disk.
    ``blocks``: how many the model has; ``None`` if it could not be built. ``converted``: whether
    tensors that are no experts are joined or taken apart while they are loaded. ``origin``: a
    sentence on where the knowledge comes from.
    """

    kinds: Mapping[str, ModuleKind] = field(default_factory=dict)
    fused: tuple[FusedExperts, ...] = ()
    blocks: int | None = None
    converted: bool = False
    origin: str = ""


def module_facts(
    config: Mapping[str, Any], container: str, shapes: Mapping[str, tuple[int, ...]]
) -> ModuleFacts:
    """Facts on the tensors below ``container``; empty, with the reason, if there is no model.

    ``config`` is the whole ``config.json``; ``shapes`` has every tensor name on disk.
    """
    try:
        model = build(config)
    except Unbuildable as error:
        return ModuleFacts(origin=f"{_BY_NAME}, because {error}")
    names = Names(model, shapes)
    path = block_list(model, names, container)
    if path is None:
        return _by_relative_name(model, container, shapes)
    # What is taken apart or joined while it is loaded has no place of its own in memory.
    kinds = {
        canonical(_relative(name, container)): ModuleKind.CHANGED
        for name in names.changed()
        if name.startswith(f"{container}.")
    }
    fused: dict[str, FusedExperts] = {}
    routers = set(_routers(model, path))
    for name, slot in names.slots.items():
        if not name.startswith(f"{container}.") or not slot.parameter.startswith(f"{path}."):
            continue
        relative = canonical(_relative(name, container))
        if slot.expert is not None:
            kinds[relative] = ModuleKind.EXPERT
            continue
        holder, _, leaf = slot.parameter.rpartition(".")
        module = model.get_submodule(holder)
        if leaf == "weight":
            kind = ModuleKind.ROUTER if holder in routers else _kind(module)
            kinds[relative] = kinds.get(relative, kind) if kind is ModuleKind.OTHER else kind
        elif len(shapes[name]) == 3 and _is_experts(module, leaf):
            fused[relative] = _stacked(names, module, name, slot.parameter, container, path)
    return ModuleFacts(
        kinds,
        tuple(fused.values()),
        len(model.get_submodule(path)),  # type: ignore[arg-type]
        any(name.startswith(f"{container}.") for name in names.changed()),
        f"linears are those of transformers' {type(model).__name__}",
    )


def _by_relative_name(
    model: nn.Module, container: str, shapes: Mapping[str, tuple[int, ...]]
) -> ModuleFacts:
    """Where transformers would find nothing, because names begin otherwise than it knows."""
    on_disk = {canonical(_relative(n, container)) for n in shapes if n.startswith(f"{container}.")}
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    found = max(map(_kinds_inside, lists), key=lambda k: len(on_disk & k.keys()), default={})
    if not on_disk & found.keys():
        return ModuleFacts(origin=f"{_BY_NAME}, because {type(model).__name__} has other names")
    return ModuleFacts(found, origin=f"linears are those of transformers' {type(model).__name__}")


def _kinds_inside(blocks: nn.ModuleList) -> dict[str, ModuleKind]:
    return {
        canonical(name): _kind(module)
        for block in blocks
        for name, module in block.named_modules()
        if any(leaf == "weight" for leaf, _ in module.named_parameters(recurse=False))
    }


def block_list(model: nn.Module, names: Names, container: str) -> str | None:
    """Where in the model the blocks are that ``container`` holds on disk; ``None`` if nowhere."""
    lists = {n: 0 for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    for target, sources in names.targets().items():
        if sources[0].startswith(f"{container}."):
            parts = target.split(".")
            for i, part in enumerate(parts):
                before = ".".join(parts[:i])
                if part.isdecimal() and before in lists:
                    lists[before] += 1
                    break
    found = max(lists, key=lambda name: lists[name], default="")
    return found if found and lists[found] else None


def decoder_container(
    config: Mapping[str, Any], containers: Iterable[str], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Which of several lists of blocks on disk is the decoder's; ``None`` if nobody can tell."""
    try:
        model: Any = build(config)
    except Unbuildable:
        return None
    inside = set(model.get_decoder().modules())
    names = Names(model, shapes)
    paths = {container: block_list(model, names, container) for container in containers}
    found = [c for c, path in paths.items() if path and model.get_submodule(path) in inside]
    # Some models call all that they hold their decoder.
    return found[0] if len(found) == 1 else None


def _relative(name: str, container: str) -> str:
    return name.removeprefix(f"{container}.").partition(".")[2].removesuffix(".weight")


def _kind(module: nn.Module) -> ModuleKind:
    if isinstance(module, nn.Linear):
        return ModuleKind.LINEAR
    return ModuleKind.CONV1D if type(module).__name__ == "Conv1D" else ModuleKind.OTHER


def _is_experts(module: nn.Module, leaf: str) -> bool:
    """Whether a parameter with three axes holds a matrix for each expert."""
    return leaf.endswith("_proj") and not isinstance(module, _ConvNd)


def _routers(model: nn.Module, path: str) -> Iterator[str]:
    """Linears beside experts that have a row for each of them."""
    for block, module in model.get_submodule(path).named_children():
        counts = dict(_experts(module))
        for name, inner in module.named_modules():
            if not isinstance(inner, nn.Linear):
                continue
            for holder, count in counts.items():
                beside = holder.rpartition(".")[0]
                within = name.startswith(f"{holder}.")
                named = any(word in name for word in ("router", "gate"))
                near = name.startswith(f"{beside}.") if beside else named
                if inner.out_features == count and not within and near:
                    yield f"{path}.{block}.{name}"


def _experts(block: nn.Module) -> Iterator[tuple[str, int]]:
    """Modules of a block that hold experts, and how many."""
    for name, module in block.named_modules():
        if isinstance(module, nn.ModuleList) and "expert" in name.rpartition(".")[2]:
            yield name, len(module)
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3 and _is_experts(module, leaf):
                yield name, parameter.shape[0]


def _is_transposed(module: Any, leaf: str) -> bool:
    """Whether a stacked parameter is ``(experts, in, rows)``."""
    if hasattr(module, "is_transposed"):
        return bool(module.is_transposed)
    shape = getattr(module, leaf).shape
    width = getattr(module, "hidden_size", None) or getattr(module, "hidden_dim", None)
    reads_hidden = leaf != "down_proj"
    return (
        width is not None
        and shape[1 if reads_hidden else 2] == width != shape[2 if reads_hidden else 1]
    )


def _stacked(
    names: Names, module: Any, name: str, parameter: str, container: str, path: str
) -> FusedExperts:
    """How the experts lie in a stacked tensor on disk, which is the parameter as it is."""
    leaf = parameter.rpartition(".")[2]
    inside = _relative(parameter, path)
    both = leaf == "gate_up_proj"
    layout: dict[str, Any] = {
        "transposed": _is_transposed(module, leaf),
        "interleaved": both and not getattr(module, "is_concatenated", True),
    }
    relative = name.removeprefix(f"{container}.").partition(".")[2]
    published = names.expert_patterns(parameter)
    if published:
        parts = tuple(_relative(pattern, path) for pattern in published)
        return FusedExperts(relative, parts, **layout)
    holder = inside.rpartition(".")[0]
    parts = ("gate_proj", "up_proj") if both else (leaf,)
    return FusedExperts(
        relative, tuple(f"{holder}.*.{part}" for part in parts), **layout, parameter=inside
    )
