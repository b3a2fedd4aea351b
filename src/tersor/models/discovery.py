"""Architectures without a table: which tensors are linears, embedding and head.

First choice: the modules of the model that transformers would build (``modules``). What cannot
be settled that way is judged by the heuristic: a 2-D ``.weight`` inside a numbered block is a
linear, stored ``(out, in)``, unless its name speaks of a norm, an embedding, a convolution, a
low-rank adapter or a router, or it has a single row or column, or it is called ``gate`` and has
as many rows as there are experts. The rules on routers, single rows and gates hold against
transformers' modules too.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from tersor.errors import SourceError
from tersor.families.blocks import FusedExperts, canonical
from tersor.models.in_transformers.modules import ModuleKind, decoder_container, module_facts

Shapes = Mapping[str, tuple[int, ...]]

_NOT_LINEAR = re.compile(r"norm|(^|[._])ln([._\d]|$)|embed|conv|lora_|(^|\.)(wte|wpe)(\.|$)")
_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output_layer|output|head)\.weight$")
_TOKENS = re.compile(r"embed|(^|\.)wte\.")
_LINEAR_KINDS = (ModuleKind.LINEAR, ModuleKind.CONV1D, ModuleKind.EXPERT)
_NOT_TOKENS = re.compile(r"(^|[._])pos|(^|\.)wpe\.|type|vision|visual|image|audio|patch")


@dataclass(frozen=True)
class Found:
    """What discovery has to say; the fields mean what they mean in ``Architecture``."""

    container: str
    linears: tuple[str, ...]
    transposed: tuple[str, ...]
    embedding: str | None
    head: str | None
    fused_experts: tuple[FusedExperts, ...]
    blocks: int
    converted: bool
    notes: tuple[str, ...]


def block_containers(shapes: Shapes) -> dict[str, set[int]]:
    """Every prefix that is followed by a number, with the numbers: ``model.layers`` → {0, 1, …}.

    Only the first number of a name counts: the experts of a block are no container.
    """
    containers: dict[str, set[int]] = defaultdict(set)
    for name in shapes:
        parts = name.split(".")
        at = next((i for i, part in enumerate(parts) if part.isdecimal()), 0)
        if 0 < at < len(parts) - 1:
            containers[".".join(parts[:at])].add(int(parts[at]))
    return dict(containers)


def discover(config: Mapping[str, Any], text: Mapping[str, Any], shapes: Shapes) -> Found:
    """Linears, embedding and head of a checkpoint that no table describes.

    ``config`` is the whole ``config.json``, ``text`` the part of the language model in it. Raises
    ``SourceError`` if no tensor name holds a block number.
    """
    container = _main_container(config, text, shapes)
    inside = _matrices_inside(container, shapes)
    facts = module_facts(config, container, shapes)
    kinds = facts.kinds
    routers = {canonical(n) for n, shape in inside.items() if _is_router(n, shape, text)}
    routers |= {name for name, kind in kinds.items() if kind is ModuleKind.ROUTER}
    candidates = {canonical(name) for name in inside} - routers
    by_module = {name for name in candidates if kinds.get(name) in _LINEAR_KINDS}
    by_name = {n for n in candidates if n not in kinds and not _NOT_LINEAR.search(n)}
    notes = [facts.origin]
    if by_name and kinds:
        notes.append(f"judged by name, because they are no modules there: {_listed(by_name)}")
    parts = {part for fused in facts.fused for part in fused.parts}
    known = {canonical(fused.name).removesuffix(".weight") for fused in facts.fused}
    stacked = {n for n in _stacked_experts(container, shapes) if canonical(n) not in known}
    if stacked:
        notes.append(f"stacked experts of unknown layout stay as they are: {_listed(stacked)}")
    changed = {n for n in candidates if kinds.get(n) is ModuleKind.CHANGED}
    if changed:
        notes.append(
            f"stays as it is, because transformers takes it apart while loading: {_listed(changed)}"
        )
    linears = sorted(by_module | by_name | parts)
    present = max(block_containers(shapes)[container]) + 1
    outside = _matrices_outside(container, shapes)
    return Found(
        container=container,
        linears=tuple(linears),
        transposed=tuple(n for n in linears if kinds.get(n) is ModuleKind.CONV1D),
        embedding=_tallest({n: rows for n, rows in outside.items() if _is_token_embedding(n)}),
        head=_tallest({n: rows for n, rows in outside.items() if _HEAD.search(n)}),
        fused_experts=facts.fused,
        blocks=min(present, facts.blocks or present),
        converted=facts.converted,
        notes=tuple(notes),
    )


def _main_container(config: Mapping[str, Any], text: Mapping[str, Any], shapes: Shapes) -> str:
    """The language model's blocks: as many as the config says, else those with most weights.

    Where images have as many, or the config does not say, transformers' model tells which are the
    decoder's.
    """
    containers = block_containers(shapes)
    if not containers:
        raise SourceError(
            "no tensor name holds a block number (as in model.layers.0.…): "
            "this does not look like a decoder checkpoint"
        )
    weights = dict.fromkeys(containers, 0)
    for name, shape in shapes.items():
        container = next((c for c in _prefixes(name) if c in containers), None)
        if container is not None:
            weights[container] += prod(shape)
    depth = text.get("num_hidden_layers")
    ordered = sorted(containers, key=lambda c: (len(containers[c]) == depth, weights[c], c))
    alike = [c for c in ordered if depth is None or len(containers[c]) == depth]
    chosen = decoder_container(config, alike, shapes) if len(alike) > 1 else None
    return chosen or ordered[-1]


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _matrices_inside(container: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Block-relative name → shape of every 2-D ``.weight`` inside the blocks.

    Blocks are alike in names and shapes, so that one entry per relative name is enough.
    """
    prefix = f"{container}."
    return {
        name.removeprefix(prefix).partition(".")[2].removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.startswith(prefix) and name.endswith(".weight") and len(shape) == 2
    }


def _stacked_experts(container: str, shapes: Shapes) -> set[str]:
    prefix = f"{container}."
    return {
        name.removeprefix(prefix).partition(".")[2].removesuffix(".weight")
        for name, shape in shapes.items()
        if name.startswith(prefix) and len(shape) == 3 and "expert" in name
    }


def _matrices_outside(container: str, shapes: Shapes) -> dict[str, int]:
    """Full name → rows of every 2-D ``.weight`` outside the blocks."""
    return {
        name: shape[0]
        for name, shape in shapes.items()
        if not name.startswith(f"{container}.") and name.endswith(".weight") and len(shape) == 2
    }


def _is_router(relative: str, shape: tuple[int, ...], text: Mapping[str, Any]) -> bool:
    """A router, or a gate with a single row: too small to gain from, too important to round."""
    if "router" in relative or min(shape) <= 1:
        return True
    experts = next((text[key] for key in _EXPERT_COUNTS if text.get(key)), None)
    return relative.rpartition(".")[2] == "gate" and shape[0] == experts


def _is_token_embedding(name: str) -> bool:
    return bool(_TOKENS.search(name)) and not _HEAD.search(name) and not _NOT_TOKENS.search(name)


def _tallest(rows: Mapping[str, int]) -> str | None:
    """The name with most rows: a vocabulary is larger than anything else with such a name."""
    return max(rows, key=lambda name: (rows[name], name), default=None)


def _listed(names: set[str]) -> str:
    first = sorted(names)[:4]
    return ", ".join(first) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
