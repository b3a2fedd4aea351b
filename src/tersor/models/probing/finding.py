"""What no table says about an architecture, found on a tiny model of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from tersor.families.blocks import SharedInput, canonical
from tersor.models.architecture import Architecture
from tersor.models.probing.check import failing
from tersor.models.probing.merging import merged
from tersor.models.probing.sharing import Block, Shared, shared_inputs
from tersor.models.probing.stream import Stream, centred, stream_of
from tersor.models.probing.tiny.blocks import Stored, block_list, depth_of, kinds_of, text_config
from tersor.models.probing.tiny.miniature import NoMiniature, miniature, token_ids, typed_config
from tersor.models.probing.tiny.naming import Naming, naming
from tersor.models.probing.trial import Trials
from tersor.models.probing.watching import Watched, logits_of, watch

Shapes = Mapping[str, tuple[int, ...]]


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
    text = text_config(config)
    stored = {name: len(shape) for name, shape in shapes.items()}
    try:
        kinds = kinds_of(architecture, text, stored)
        depth = depth_of(architecture, text, stored)
        model = miniature(text, depth)
        return _found(architecture, typed_config(text), model, kinds, depth, stored)
    except NoMiniature as error:
        return f"no pairs were found by numbers: {error}"
    except Exception as error:  # foreign models: whatever breaks, the checkpoint still quantizes
        return f"no pairs were found by numbers ({type(error).__name__}: {error})"


def tiny_logits(model: nn.Module) -> Tensor:
    """What a tiny model makes of the tokens it is always given, fp64."""
    return logits_of(model, token_ids())


def _found(
    architecture: Architecture,
    typed: Any,
    model: nn.Module,
    kinds: Sequence[int],
    depth: int,
    stored: Stored,
) -> Probe:
    relatives = {architecture.split(name)[1] for name in stored}
    container, blocks = block_list(model, depth, relatives)
    names = naming(model, container, architecture, stored)
    ids = token_ids()
    watched, trials = watch(model, ids), Trials(model, ids)
    heads = int(getattr(model.config, "num_attention_heads", 0) or 0)
    width = int(model.get_input_embeddings().weight.shape[-1])  # type: ignore[operator]
    shared: list[list[Shared]] = []
    streams: list[Stream] = []
    linears = frozenset(architecture.linears)
    for index in kinds:
        block = Block(f"{container}.{index}.", linears, names, heads, width)
        shared.append(shared_inputs(block, watched, trials))
        streams.append(stream_of(model, blocks[index], block, watched, trials, ids))
    offset = _offset(shared)
    entries = merged([[_with_offset(s, offset) for s in block] for block in shared])
    norms = _norms(watched, container, width)
    weighted = bool(norms) and trials.holds(f"{norms[-1]}.weight")
    final = _beside(architecture.container, norms)
    final = final if final in stored else None
    full = _Names(container, depth, heads, model, norms, names)
    described = replace(
        architecture,
        known=True,
        shared_inputs=entries,
        writers=tuple(dict.fromkeys(w for s in streams for w in s.writers)),
        norm_offset=offset,
        centred=bool(norms) and centred(model.get_submodule(norms[-1]), width),
        sandwich=any(s.sandwich for s in streams),
        closed=all(s.closed for s in streams) and (not weighted or final is not None),
        untied_head=f"{_name_of(model, model.get_output_embeddings())}.weight",  # type: ignore[operator]
        examined=_examined(model, container),
    )
    tiny = full.applied(described)
    wrong = failing(model, tiny, trials)
    entries = _without(entries, wrong)
    described, tiny = (replace(a, shared_inputs=entries) for a in (described, tiny))
    return Probe(model, tiny, _on_disk(architecture, described, typed, final))


@dataclass(frozen=True, eq=False)
class _Names:
    """What the tiny model's tensors are called, as the fields of an ``Architecture``."""

    container: str
    depth: int
    heads: int
    model: Any
    norms: Sequence[str]
    naming: Naming

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
            fused_experts=self.naming.stacks,
            renames=tuple(self.naming.published.items()),
        )


def _on_disk(
    architecture: Architecture,
    described: Architecture,
    typed: Any,
    final: str | None,
) -> Architecture:
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
    )


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


def _norms(watched: Watched, container: str, width: int) -> list[str]:
    """Norms beside the blocks, in the order they ran."""
    parent = container.rpartition(".")[0]
    return [
        name
        for name, handed in watched.norms.items()
        if name.rpartition(".")[0] == parent and handed.width == width
    ]


def _beside(container: str, norms: Sequence[str]) -> str | None:
    """The final norm as it is called on disk, beside the blocks there."""
    parent, dot, _ = container.rpartition(".")
    return f"{parent}{dot}{norms[-1].rpartition('.')[2]}.weight" if norms else None


def _examined(model: nn.Module, container: str) -> tuple[str, ...]:
    names = (n for n, _ in model.named_parameters() if n.startswith(f"{container}."))
    relatives = (n.removeprefix(f"{container}.").partition(".")[2] for n in names)
    return tuple(sorted({canonical(n.removesuffix(".weight")) for n in relatives}))


def _name_of(model: nn.Module, module: object) -> str:
    return next((name for name, other in model.named_modules() if other is module), "")
