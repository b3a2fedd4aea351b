"""Activation statistics of a checkpoint, one block in memory at a time."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import product
from typing import TypeVar

from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.places import Place, check_reached, find_places, stage_of
from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage, staged
from tersor.calibration.statistics import Statistic
from tersor.calibration.text import check_windows
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.describing import describe
from tersor.models.in_transformers.metamodel import longest_context

R = TypeVar("R")
_MEMORY = 4 << 30


def collect(
    source: Source,
    observers: Mapping[str, Statistic[R]],
    tokens: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
    microbatch_tokens: int = 4096,
) -> dict[str, R]:
    """Run ``tokens (n, T)`` int64 through the model in fp32 and observe the inputs of linears.

    ``observers`` maps the weights of linears, by their published names
    (``model.layers.0.mlp.up_proj.weight``, an expert's as well, the head's too) to a statistic of
    what they are multiplied with. Linears that share an input need one observer only. A statistic
    is updated once per window ``(T, in)``; an expert's once per ``microbatch_tokens``, with the
    tokens that the router sent to it. At most one block's weights are in memory, with the hidden
    states of all windows twice. ``progress(done, total)`` counts blocks.

    Returns the results by name. An expert that no token was sent to is not among them.

    Raises :class:`SourceError` for a name that is no linear, a model that transformers cannot run,
    a checkpoint that is incomplete, or an activation that is not finite; :class:`TextError` for
    windows that the model cannot read.
    """
    shapes = {name: info.shape for name, info in source.tensors.items()}
    architecture = describe(source.config, shapes)
    decoder = Decoder(source, architecture)
    _check_windows(source, decoder, tokens)
    head = architecture.head
    inside = [name for name in observers if name != head]
    places = find_places(source, architecture, decoder, inside)
    listening = _Listening(source, observers, places, tokens.shape[1])
    rows = max(1, microbatch_tokens // tokens.shape[1])
    walk = decoder.walk(
        tokens, listening.visit, rows=rows, memory=listening.memory, progress=progress
    )
    with closing(walk):  # what a failure leaves open would keep gradients off
        for final in walk:
            if head is not None and head in observers:
                listening.update(head, final.flatten(0, 1))
    return {name: observers[name].result() for name in observers if name in listening.seen}


class _Listening:
    """The observers of one run. ``seen``: the weights whose input came by."""

    def __init__(
        self,
        source: Source,
        observers: Mapping[str, Statistic[object]],
        places: Mapping[str, Place],
        length: int,
    ) -> None:
        self._source, self._observers, self._length = source, observers, length
        self._stages = _stages(places)
        self.memory = ActivationMemory(_MEMORY)
        self.seen: set[str] = set()

    def visit(self, call: BlockCall, hidden: Tensor) -> Tensor:
        stages = self._stages[call.index]
        reached = set()
        with closing(staged(call, hidden, hidden, stages, self.memory)) as forward:
            for stage, inputs in forward:
                reached.add(stage)
                for name, x in product(stage.weights, inputs):
                    self.update(name, x, whole=stage.fused is not None)
        check_reached(self._source, call.block, stages, reached)
        return hidden

    def update(self, name: str, x: Tensor, whole: bool = False) -> None:
        """Show an observer rows ``(tokens, in)``, a window at a time or the ``whole``."""
        length = max(1, len(x)) if whole else self._length
        for start in range(0, len(x), length):
            try:
                self._observers[name].update(x[start : start + length])
            except SourceError as error:
                raise SourceError(f"{self._source.path}: input of {name}: {error}") from error
            self.seen.add(name)


def _stages(places: Mapping[str, Place]) -> dict[int, list[Stage]]:
    """Stages of each block; experts in ascending order, weights that read the same together."""
    together: dict[tuple[int, str, int], list[tuple[str, Place]]] = defaultdict(list)
    for name, place in places.items():
        expert = -1 if place.expert is None else place.expert
        together[place.block, place.path, expert].append((name, place))
    found: dict[int, list[Stage]] = defaultdict(list)
    for (block, _, _), members in sorted(together.items(), key=lambda item: item[0][2]):
        found[block].append(stage_of(members))
    return found


def _check_windows(source: Source, decoder: Decoder, tokens: Tensor) -> None:
    config = getattr(decoder.module, "config", None)
    check_windows(
        tokens,
        str(source.path),
        vocabulary=getattr(config, "vocab_size", None),
        positions=longest_context(config),
    )
