"""What no table says about an architecture, found on a tiny model of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from torch import Tensor, nn

from tersor.models.architecture import Architecture
from tersor.models.probing.check import failing
from tersor.models.probing.miniature import NoMiniature, miniature, token_ids, typed_config
from tersor.models.probing.sharing import Block, Shared, shared_inputs
from tersor.models.probing.stream import Stream, centred, stream_of
from tersor.models.probing.trial import Trials
from tersor.models.probing.watching import Watched, logits_of, watch
from tersor.models.values import Rows, SharedInput, canonical

Shapes = Mapping[str, tuple[int, ...]]
Stored = Mapping[str, int]
"""Names on disk and their numbers of axes."""
_DEEPEST = 40


@dataclass(frozen=True, eq=False)
class Probe:
    """A tiny model, its architecture as it is in memory, and what was found, of the checkpoint."""

    model: nn.Module
    tiny: Architecture
    architecture: Architecture


def probed(architecture: Architecture, config: Mapping[str, Any], shapes: Shapes) -> Architecture:
    """``architecture`` with shared inputs, pairs and the residual stream found by numbers.

    ``config`` and ``shapes`` as for ``describe``. One with a table is returned as it is. Where
    nothing can be found the note says why, and it stays unknown.
    """
    if architecture.known:
        return architecture
    found = probe(architecture, config, shapes)
    if isinstance(found, str):
        return replace(architecture, note="; ".join(filter(None, (architecture.note, found))))
    return found.architecture


def probe(architecture: Architecture, config: Mapping[str, Any], shapes: Shapes) -> Probe | str:
    """The same with the tiny model; a sentence where there is none. Takes about a second."""
    text: Mapping[str, Any] = config
    if isinstance(config.get("text_config"), Mapping):
        outer = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        text = {**config["text_config"], **outer}
    stored = {name: len(shape) for name, shape in shapes.items()}
    try:
        kinds = _kinds(architecture, text, stored)
        depth = max(2, *(first + 1 for first in kinds))
        if depth > _DEEPEST:
            raise NoMiniature(f"the first block of its last kind is number {depth - 1}")
        model = miniature(text, depth)
        return _found(architecture, typed_config(text), model, kinds, depth, stored)
    except NoMiniature as error:
        return f"no pairs were found by numbers: {error}"
    except Exception as error:  # foreign models: whatever breaks, the checkpoint still quantizes
        return f"no pairs were found by numbers ({type(error).__name__}: {error})"


def tiny_logits(model: nn.Module) -> Tensor:
    """What a tiny model makes of the tokens it is always given, fp64."""
    return logits_of(model, token_ids())


def _kinds(architecture: Architecture, config: Mapping[str, Any], stored: Stored) -> list[int]:
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


def _found(
    architecture: Architecture,
    typed: Any,
    model: nn.Module,
    kinds: Sequence[int],
    depth: int,
    stored: Stored,
) -> Probe:
    in_memory = {published: name for name, published in architecture.renames}
    inside = [
        relative
        for name in stored
        for block, relative in [architecture.split(name)]
        if block is not None
    ]
    relatives = {in_memory.get(name, name) for name in inside}
    container, blocks = _blocks(model, depth, relatives)
    ids = token_ids()
    watched, trials = watch(model, ids), Trials(model, ids)
    heads = int(getattr(model.config, "num_attention_heads", 0) or 0)
    width = int(model.get_input_embeddings().weight.shape[-1])  # type: ignore[operator]
    shared: list[list[Shared]] = []
    streams: list[Stream] = []
    on_disk, linears = frozenset(map(canonical, relatives)), frozenset(architecture.linears)
    for index in kinds:
        block = Block(f"{container}.{index}.", on_disk, linears, heads, width)
        shared.append(shared_inputs(block, watched, trials))
        streams.append(stream_of(model, blocks[index], block, watched, trials, ids))
    offset = _offset(shared)
    entries = merged([[_with_offset(s, offset) for s in block] for block in shared])
    norms = _norms(watched, container, width)
    full = _Names(container, depth, heads, model, norms)
    described = replace(
        architecture,
        known=True,
        shared_inputs=entries,
        writers=tuple(dict.fromkeys(w for s in streams for w in s.writers)),
        norm_offset=offset,
        centred=bool(norms) and centred(model.get_submodule(norms[-1]), width),
        sandwich=any(s.sandwich for s in streams),
        closed=all(s.closed for s in streams),
        untied_head=f"{_name_of(model, model.get_output_embeddings())}.weight",  # type: ignore[operator]
        examined=_examined(model, container),
    )
    tiny = full.applied(described)
    wrong = failing(model, tiny, trials)
    entries = _without(entries, wrong)
    described, tiny = (replace(a, shared_inputs=entries) for a in (described, tiny))
    return Probe(model, tiny, _on_disk(architecture, described, typed, norms, stored))


@dataclass(frozen=True, eq=False)
class _Names:
    """What the tiny model's tensors are called, as the fields of an ``Architecture``."""

    container: str
    depth: int
    heads: int
    model: Any
    norms: Sequence[str]

    def applied(self, architecture: Architecture) -> Architecture:
        """``architecture`` with these names."""
        embedding = self.model.get_input_embeddings()
        head = self.model.get_output_embeddings()
        tied = head.weight is embedding.weight
        return replace(
            architecture,
            container=self.container,
            blocks=self.depth,
            heads=self.heads,
            embedding=f"{_name_of(self.model, embedding)}.weight",
            head=None if tied else f"{_name_of(self.model, head)}.weight",
            tied=tied,
            final_norm=f"{self.norms[-1]}.weight" if self.norms else None,
        )


def _on_disk(
    architecture: Architecture,
    described: Architecture,
    typed: Any,
    norms: Sequence[str],
    stored: Stored,
) -> Architecture:
    parent, dot, _ = architecture.container.rpartition(".")
    leaf = norms[-1].rpartition(".")[2] if norms else ""
    final = f"{parent}{dot}{leaf}.weight" if leaf else None
    found = sum(s.producer is not None for s in described.shared_inputs)
    note = (
        f"pairs are not from a table: {found} were found on a small random model of "
        f"{architecture.model_type}"
    )
    without = [
        f"{', '.join(s.consumers)}: {s.why}" for s in described.shared_inputs if not s.producer
    ]
    if without:
        note += f"; none for {'; none for '.join(without)}"
    old = architecture.note.partition("; ")
    kept = old[2] if old[0].startswith("no table for") else architecture.note
    return replace(
        described,
        note="; ".join(filter(None, (kept, note))),
        heads=int(getattr(typed, "num_attention_heads", 0) or 0),
        final_norm=final,
        closed=described.closed and (final is None or final in stored),
    )


def merged(blocks: Sequence[Sequence[Shared]]) -> tuple[SharedInput, ...]:
    """One list for blocks of all kinds.

    Entries with the same producer, or with a consumer in common, become one; it has no producer
    where they disagree. In every block the consumers of an entry that are there are those that
    read together there; where that cannot be, each is an entry of its own.
    """
    entries: list[SharedInput] = []
    for shared in (s.entry for block in blocks for s in block):
        same = [entry for entry in entries if _belong_together(entry, shared)]
        entries = [entry for entry in entries if entry not in same]
        entries.append(reduce(_united, (*same, shared)))
    return tuple(part for entry in entries for part in _consistent(entry, blocks))


def _united(one: SharedInput, other: SharedInput) -> SharedInput:
    agreed = (one.producer, one.rows) == (other.producer, other.rows)
    why = one.why or other.why or "blocks of different kinds have different producers"
    return replace(
        one,
        consumers=tuple(dict.fromkeys((*one.consumers, *other.consumers))),
        listeners=tuple(dict.fromkeys((*one.listeners, *other.listeners))) if agreed else (),
        producer=one.producer if agreed else None,
        rows=one.rows if agreed else Rows.ALL,
        why="" if agreed and one.producer else why,
        turns=one.turns and other.turns,
        inner=one.inner and other.inner,
    )


def _consistent(entry: SharedInput, blocks: Sequence[Sequence[Shared]]) -> tuple[SharedInput, ...]:
    for block in blocks:
        present = {name for s in block for name in s.entry.consumers}
        together = {name for name in entry.consumers if name in present}
        if together and not any(together == set(s.entry.consumers) for s in block):
            why = f"it reads what {', '.join(sorted(together))} read in some blocks only"
            alone = replace(entry, producer=None, rows=Rows.ALL, listeners=(), why=why)
            return tuple(replace(alone, consumers=(name,)) for name in entry.consumers)
    return (entry,)


def _belong_together(one: SharedInput, other: SharedInput) -> bool:
    if set(one.consumers) & set(other.consumers):
        return True
    return one.producer is not None and (one.producer, one.rows) == (other.producer, other.rows)


def _offset(shared: Sequence[Sequence[Shared]]) -> float:
    """What most norms that produce for linears add to their weights."""
    offsets = [s.offset for block in shared for s in block if s.offset is not None]
    return max(sorted(set(offsets)), key=offsets.count, default=0.0)


def _with_offset(shared: Shared, offset: float) -> Shared:
    if shared.offset in (None, offset):
        return shared
    why = f"{shared.entry.producer} adds {shared.offset:g} to its weight, other norms {offset:g}"
    return Shared(replace(shared.entry, producer=None, listeners=(), why=why))


def _without(entries: Sequence[SharedInput], wrong: Mapping[int, str]) -> tuple[SharedInput, ...]:
    return tuple(
        replace(e, producer=None, listeners=(), why=wrong[i]) if i in wrong else e
        for i, e in enumerate(entries)
    )


def _blocks(model: nn.Module, depth: int, relatives: set[str]) -> tuple[str, nn.ModuleList]:
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


def _norms(watched: Watched, container: str, width: int) -> list[str]:
    """Norms beside the blocks, in the order they ran."""
    parent = container.rpartition(".")[0]
    return [
        name
        for name, handed in watched.norms.items()
        if name.rpartition(".")[0] == parent and handed.width == width
    ]


def _examined(model: nn.Module, container: str) -> tuple[str, ...]:
    names = (n for n, _ in model.named_parameters() if n.startswith(f"{container}."))
    relatives = (n.removeprefix(f"{container}.").partition(".")[2] for n in names)
    return tuple(sorted({canonical(n.removesuffix(".weight")) for n in relatives}))


def _name_of(model: nn.Module, module: object) -> str:
    return next((name for name, other in model.named_modules() if other is module), "")
