"""A decoder that is an empty frame, filled from a source one block at a time.

transformers builds the modules on the meta device, so a model of any size costs nothing until a
block is loaded. Everything here that depends on the version of transformers stays here.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from tersor.calibration.attention import use_native_attention
from tersor.calibration.blocks import (
    Arguments,
    BlockCall,
    Record,
    Returns,
    Visit,
    cut,
    handed_on,
    same,
    turned,
)
from tersor.calibration.computed_buffers import fill_computed_buffers
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.modules import load, model_around, unload, without_embeddings
from tersor.checkpoints.source import Source
from tersor.errors import SourceError, TersorError
from tersor.models.architecture import Architecture
from tersor.models.experts import unfuse
from tersor.models.in_transformers.metamodel import Unbuildable, build
from tersor.models.in_transformers.modules import block_list
from tersor.models.in_transformers.names import Names, Slot


class Decoder:
    """The blocks of a checkpoint and what surrounds them, in fp32.

    ``module`` is the part of the transformers model that turns tokens into the final norm's output;
    ``blocks`` are its decoder blocks, on the meta device except while one of them runs.
    """

    def __init__(self, source: Source, architecture: Architecture) -> None:
        """Loads embeddings and final norm.

        Raises :class:`SourceError` for an architecture that transformers does not know or builds
        differently, and for tensors that are missing or have another shape.
        """
        self._source, self._architecture = source, architecture
        try:
            model = build(source.config)
        except Unbuildable as error:
            raise SourceError(
                f"{source.path}: {error}, so activations cannot be calibrated; use a recipe that "
                "needs none, such as w4 or vanilla-int8"
            ) from error
        use_native_attention(model)
        self._names = Names(model, source.tensors)
        self._path = self._find_blocks(model)
        self.blocks: nn.ModuleList = model.get_submodule(self._path)  # type: ignore[assignment]
        self._parent = model_around(model, self._path)
        self._container = self._path.removeprefix(f"{self._parent}.")
        self.module = model.get_submodule(self._parent)
        self.module.requires_grad_(False).eval()
        fill_computed_buffers(self.module, source)
        self._load_surroundings()
        self._embedding = self._input_embeddings()
        self._returns = Returns()
        self._lead = False

    def walk(
        self,
        tokens: Tensor,
        visit: Visit,
        *,
        rows: int,
        memory: ActivationMemory,
        dtype: torch.dtype = torch.float32,
        progress: Callable[[int, int], None] | None = None,
        enter: Callable[[Tensor], int] = lambda hidden: 0,
    ) -> Generator[Tensor, None, None]:
        """Take ``tokens (n, T)`` through the blocks, one block in memory at a time.

        ``visit(call, hidden)`` computes each block's output from its input, both fp32
        ``(n, T, hidden)``; the block is loaded before and emptied after. The model's own forward
        makes the calls' masks, positions and so on, for ``rows`` windows at a time. Yields the
        final norm's output in pieces ``(rows, T, hidden)``; nothing happens before it is asked for.
        ``progress(done, total)`` counts blocks. ``enter(hidden)`` is given the first block's input
        and returns how many blocks are not visited, because it put their output in its place.
        """
        with torch.no_grad():
            self.embedding()
            calls, hidden = self._enter(tokens, rows, memory, dtype)
            unload(self._embedding)  # in fp32 it is a large part of a small model
            for call in calls[enter(hidden) :]:
                with self.loaded(call.index):
                    hidden = visit(call, hidden)
                if progress is not None:
                    progress(call.index + 1, len(self.blocks))
            for start in range(0, len(tokens), rows):
                piece = slice(start, start + rows)
                yield self.leave(tokens[piece], hidden[piece])

    @contextmanager
    def loaded(self, index: int) -> Iterator[nn.Module]:
        """The block with its weights in memory, fp32, for as long as the context lasts."""
        try:
            yield self.load(index)
        finally:
            unload(self.blocks[index])

    def _enter(
        self, tokens: Tensor, rows: int, memory: ActivationMemory, dtype: torch.dtype
    ) -> tuple[list[BlockCall], Tensor]:
        """How each block is called, and the first block's input for all windows."""
        rows = min(rows, len(tokens))
        with self.loaded(0):
            record = self._recorded(tokens[:rows])
        self._returns = record.returns
        if len(record.calls) != len(self.blocks):
            raise self._refused(f"runs its {len(self.blocks)} blocks {len(record.calls)} times")
        self._lead = not self._windows_lead(tokens[:rows], record)
        first = turned(record.hidden, self._lead)
        if (first.ndim < 4 and self._lead) or len(first) != rows:
            raise self._refused("hands its blocks other states than (windows, tokens, hidden)")
        hidden = memory.empty((len(tokens), *first.shape[1:]))
        hidden[:rows] = first
        own: list[dict[int, Arguments]] = [{} for _ in self.blocks]
        for start in range(rows, len(tokens), rows):
            found = Record(record.returns)
            self._pass(tokens[start : start + rows], found.identity)
            piece = turned(found.hidden, self._lead)
            hidden[start : start + rows] = piece
            for mine, theirs, alone in zip(record.calls, found.calls, own, strict=True):
                alike = same(cut(mine, rows, slice(0, len(piece))), theirs)
                if not alike or handed_on(theirs[1]):
                    alone[start] = theirs
        for mine, alone in zip(record.calls, own, strict=True):
            if alone or handed_on(mine[1]):
                alone[0] = mine
        calls = [
            BlockCall(index, block, args, kwargs, rows, dtype, alone, self._lead)
            for index, (block, (args, kwargs), alone) in enumerate(
                zip(self.blocks, record.calls, own, strict=True)
            )
        ]
        return calls, hidden

    def _windows_lead(self, tokens: Tensor, record: Record) -> bool:
        """Whether windows are the first axis of the hidden states of ``tokens``, not streams.

        The sizes do not say it where there are as many streams as windows; one window alone does.
        """
        if len(tokens) == 1:
            return len(record.hidden) == 1
        alone = Record(record.returns)
        self._pass(tokens[:1], alone.identity)
        return len(alone.hidden) != len(record.hidden)

    def _recorded(self, tokens: Tensor) -> Record:
        """What every block is called with; the first one really runs, to see what it returns."""
        record = Record()
        forward = self.blocks[0].forward

        def first_for_real(index: int, *args: Any, **kwargs: Any) -> Any:
            seen = record.identity(index, *args, **kwargs)
            if index == 0:
                record.learn(forward(*args, **kwargs), self._source)
                return record.returns.like(record.hidden)
            return seen

        self._pass(tokens, first_for_real)
        return record

    def embedding(self) -> nn.Module:
        """The module that embeds tokens, its weights in memory; the next walk takes them as they
        are and lets them go.
        """
        if any(tensor.is_meta for tensor in self._embedding.parameters()):
            self._load_surroundings()
        return self._embedding

    def leave(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """The final norm's output for a piece of the last block's output.

        ``tokens``: int64 ``(r, T)``; ``hidden``: ``(r, T, hidden)``. Only after a walk.
        """

        def replace(index: int, *args: Any, **kwargs: Any) -> Any:
            del index, args, kwargs
            return self._returns.like(turned(hidden, self._lead))

        with without_embeddings(self.module):
            output: Tensor = self._pass(tokens, replace).last_hidden_state
        return output

    def _pass(self, tokens: Tensor, replacement: Callable[..., Any]) -> Any:
        """The model's forward with ``replacement(index, …)`` in the place of every block's."""
        for index, block in enumerate(self.blocks):
            block.forward = partial(replacement, index)
        try:
            return self.module(input_ids=tokens, use_cache=False)
        except (TersorError, MemoryError):
            raise
        except Exception as error:  # whatever an architecture needs that a text does not give
            said = " ".join(str(error).split())
            raise self._refused(
                f"does not run on text block by block ({type(error).__name__}: {said})"
            ) from error
        finally:
            for block in self.blocks:
                del block.forward

    def load(self, index: int) -> nn.Module:
        """Load a block's weights, fp32, and leave them in memory."""
        prefix = f"{self._path}.{index}."
        load(self.blocks[index], self._stored(prefix), prefix, self._source.path)
        return self.blocks[index]

    def published(self, index: int | None, path: str, tensor: Tensor) -> dict[str, Tensor]:
        """Names on disk → views of ``tensor``, which is shaped like the parameter ``path``.

        ``path``: inside block ``index``, or inside ``module``. Experts are apart, under their
        published names; what a conversion has changed beyond recognition is left out.
        """
        within = self._parent if index is None else f"{self._path}.{index}"
        return {
            name: part
            for disk, slot in self._by_parameter.get(f"{within}.{path}".lstrip("."), ())
            for name, part in unfuse(self._architecture, disk, slot.view(tensor)).items()
        }

    @cached_property
    def _by_parameter(self) -> dict[str, list[tuple[str, Slot]]]:
        found: dict[str, list[tuple[str, Slot]]] = defaultdict(list)
        for disk, slot in self._names.slots.items():
            found[slot.parameter].append((disk, slot))
        return found

    def _find_blocks(self, model: nn.Module) -> str:
        architecture = self._architecture
        path = block_list(model, self._names, architecture.container)
        found = 0 if path is None else len(model.get_submodule(path))  # type: ignore[arg-type]
        if path is None or found != architecture.blocks:
            raise SourceError(
                f"{self._source.path}: {architecture.blocks} blocks on disk under "
                f"{architecture.container}, and transformers' {type(model).__name__} has "
                f"{found or 'none like them'}; check num_hidden_layers in config.json"
            )
        return path

    def _input_embeddings(self) -> nn.Module:
        try:
            found = self.module.get_input_embeddings()  # type: ignore[operator]
        except (NotImplementedError, AttributeError):
            found = None
        if not isinstance(found, nn.Module):
            raise self._refused("says of no module that it embeds tokens")
        return found

    def _refused(self, why: str) -> SourceError:
        return SourceError(
            f"{self._source.path}: {type(self.module).__name__} {why}, so activations cannot be "
            "calibrated; use a recipe that needs none, such as w4"
        )

    def _stored(self, prefix: str, without: str | None = None) -> dict[str, Tensor]:
        """Parameters in memory below a prefix, as stored, but for those below ``without``."""
        names = [
            name
            for target, sources in self._names.targets().items()
            if target.startswith(prefix) and (without is None or not target.startswith(without))
            for name in sources
        ]
        return self._names.assembled(self._source.read(names))

    def _load_surroundings(self) -> None:
        prefix = f"{self._parent}." if self._parent else ""
        stored = self._stored(prefix, f"{self._path}.")
        load(self.module, stored, prefix, self._source.path, below=self._container)
