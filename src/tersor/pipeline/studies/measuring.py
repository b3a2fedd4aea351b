"""What a study measures of its artifacts, each thing once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.source import Source
from tersor.evaluation import (
    CachedBase,
    Evaluation,
    States,
    Tasks,
    hidden_states,
    relative_errors,
)
from tersor.pipeline.studies.effort import Begun, foreseen
from tersor.pipeline.studies.evaluate import (
    Protocol,
    ScoredText,
    evaluate_directory_tasks,
    evaluate_text,
    scored_texts,
    update_card,
)
from tersor.pipeline.studies.keeping import Kept, key_of
from tersor.pipeline.studies.quantizing import Watch
from tersor.pipeline.studies.timing import Rates, conditions, rates_of
from tersor.runtime.load import load, load_source
from tersor.runtime.measuring.bench import Timing
from tersor.version import code_digest, versions

_TRAVELLING = 512
"""Tokens of the window whose hidden states are compared."""


@dataclass(frozen=True)
class Measures:
    """``protocol`` of scoring text; ``timing``, ``tasks``: what else is measured, if anything."""

    protocol: Protocol = Protocol(windows=8)
    timing: Timing | None = None
    tasks: Tasks | None = None


@dataclass(frozen=True)
class Reference:
    """What artifacts are held against: predictions, and hidden states of the first window."""

    bases: tuple[CachedBase, ...]
    states: States | None


class Measuring:
    """``kept``: what was measured before, which is not measured again.

    ``of_source``: gives the key of the original. ``out``: where its predictions may lie meanwhile.
    ``directory``: of the original, once it was looked at.
    """

    texts: tuple[ScoredText, ...]
    directory: Path

    def __init__(
        self,
        of_source: Callable[[], str],
        out: Path,
        kept: Kept,
        texts: Sequence[Path],
        measures: Measures,
        watch: Watch,
        begun: Begun | None,
    ) -> None:
        self._of_source, self._out, self._kept, self._files = of_source, out, kept, texts
        self._measures, self._watch, self._begun = measures, watch, begun
        self._models = 0

    def look_at(self, source: Source, directory: Path) -> None:
        """Cut the texts for the original; raises as :func:`scored_texts` and reads no weights."""
        self._source, self.directory = source, directory
        protocol = self._measures.protocol
        tokenizer = load_tokenizer(directory)
        self.texts = tuple(scored_texts(directory, tokenizer, self._files, protocol))

    @cached_property
    def original(self) -> str:
        """The key of the original itself."""
        return key_of("original", self._of_source(), versions(), code_digest())

    def begin(self, artifacts: Sequence[str]) -> None:
        """Take note of how many models there are to score; what is said before it starts."""
        missing = [key for key in artifacts if self._lacks(key)]
        self._models = len(missing) + 1

    def losses_of_original(self) -> list[Evaluation]:
        """Of every text: what the original is against itself."""
        if self._lacks(self.original):
            _ = self._reference
        return [self._loss(self.original, text) for text in self.texts]

    def losses(
        self, key: str, directory: Path
    ) -> tuple[list[Evaluation], tuple[float, ...] | None]:
        """Of every text, and how the error travels through the blocks."""
        if self._lacks(key):
            against = self._reference  # first: the original leaves before the other is loaded
            self._measure(key, load(directory, kernels=False), against, directory.name)
        found = [self._loss(key, text) for text in self.texts]
        update_card(directory, found[0])
        travel = self._kept.get(self._travel_key(key))
        return found, None if travel is None else tuple(travel)

    def rates(self, key: str, directory: Path) -> Rates | None:
        """Tokens per second by the engine; ``None`` if they were not asked for."""
        timing = self._measures.timing
        if timing is None:
            return None
        of = key_of("rates", key, vars(timing), conditions())
        if of not in self._kept:
            progress = self._watch(f"time {directory.name}")
            self._kept.add(of, rates_of(directory, timing, progress).to_dict())
        return Rates(**self._kept.get(of))

    def accuracies(self, key: str, directory: Path) -> Mapping[str, float]:
        """By task; empty if none was asked for."""
        tasks = self._measures.tasks
        if tasks is None:
            return {}
        of = key_of("tasks", key, tasks.digest())
        if of not in self._kept:
            self._kept.add(of, _accuracies(evaluate_directory_tasks(directory, tasks)))
        found: Mapping[str, float] = self._kept.get(of)
        return found

    @cached_property
    def _reference(self) -> Reference:
        """From the original, which is in memory no longer than that takes."""
        model = load_source(self._source)
        if self._begun is not None:
            windows = [text.windows for text in self.texts]
            # The original runs twice: what it predicts is kept, then it is scored like the others.
            self._begun(foreseen(windows, model, None, models=self._models + 1))
        bases = tuple(
            CachedBase(
                model,
                text.windows,
                self._out,
                skip=text.skip,
                progress=self._watch("evaluate original"),
            )
            for text in self.texts
        )
        reference = Reference(bases, hidden_states(model, self._window))
        if self._lacks(self.original):
            self._measure(self.original, model, reference, "original")
        return reference

    @property
    def _window(self) -> Any:
        return self.texts[0].windows[0][:_TRAVELLING]

    def _measure(self, key: str, model: nn.Module, against: Reference, name: str) -> None:
        for text, base in zip(self.texts, against.bases, strict=True):
            progress = self._watch(f"evaluate {name}")
            found = evaluate_text(model, text, base, progress=progress)
            self._kept.add(self._loss_key(key, text), found.to_dict())
        states = None if against.states is None else hidden_states(model, self._window)
        travel = None
        if states is not None and against.states is not None:
            travel = list(relative_errors(against.states, states))
        self._kept.add(self._travel_key(key), travel)

    def _lacks(self, key: str) -> bool:
        wanted = [self._travel_key(key), *(self._loss_key(key, text) for text in self.texts)]
        return any(one not in self._kept for one in wanted)

    def _loss(self, key: str, text: ScoredText) -> Evaluation:
        return Evaluation.from_dict(self._kept.get(self._loss_key(key, text)))

    def _loss_key(self, key: str, text: ScoredText) -> str:
        return key_of("loss", key, self.original, text.to_dict())

    def _travel_key(self, key: str) -> str:
        return key_of("travel", key, self.original, self.texts[0].to_dict())


def _accuracies(found: Mapping[str, Any]) -> dict[str, float]:
    """Of every task the first of its measures that is a share of right answers."""
    chosen = {}
    for name, measures in found["results"].items():
        for wanted in ("acc_norm,none", "acc,none", "exact_match,none"):
            if wanted in measures:
                chosen[name] = float(measures[wanted])
                break
    return chosen
