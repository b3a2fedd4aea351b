"""``compare``: several recipes on one model, measured on the same text."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersor.calibration.text import open_text
from tersor.checkpoints.files import write_text
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.output.results import results_in
from tersor.checkpoints.restore import restore
from tersor.checkpoints.source import Source
from tersor.errors import OptionError
from tersor.evaluation import CachedBase
from tersor.pipeline.planning import Plan, make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.pipeline.quantize import quantize_to
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.studies.effort import Begun, foreseen
from tersor.pipeline.studies.evaluate import (
    Protocol,
    ScoredText,
    evaluate_text,
    scored_texts,
    update_card,
)
from tersor.pipeline.studies.rows import CompareRow, original_row, recipe_row
from tersor.pipeline.whole_model.given_texts import refuse_texts
from tersor.recipes import Recipe
from tersor.recipes.naming import ORIGINAL, TABLES, check_different
from tersor.report import for_people, to_csv, to_markdown
from tersor.runtime.load import load, load_source
from tersor.version import own_version, versions

Watch = Callable[[str], Callable[[int, int], None] | None]
"""Given the name of a piece of work, returns the progress callback for it."""


@dataclass(frozen=True)
class CompareResult:
    """One row per recipe and text, the original first.

    ``model``: what was quantized. ``texts``: what was scored, and how. ``results``: one per recipe.
    """

    model: Path
    rows: tuple[CompareRow, ...]
    texts: tuple[ScoredText, ...]
    results: tuple[QuantizeResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Rows, what was scored, and what every recipe was made with, as plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "versions": versions(),
            "texts": [text.to_dict() for text in self.texts],
            "recipes": {result.plan.recipe.name: _made_with(result) for result in self.results},
            "rows": [row.to_dict() for row in self.rows],
        }

    def lines(self) -> list[str]:
        """For people: what was scored, and what recipes were calibrated on."""
        read = [
            f"{text.done} {result.plan.recipe.name} on {text.line()}"
            for result in self.results
            for text in result.calibration
        ]
        return [*(f"scored {text.line()}" for text in self.texts), *read]

    def write(self, directory: Path) -> None:
        """Write ``compare.csv``, ``compare.json`` and ``compare.md``."""
        rows = [row.to_dict() for row in self.rows]
        document = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        lines = "".join(f"- {line}\n" for line in self.lines())
        texts = (to_csv(rows), document, f"{to_markdown(for_people(rows))}\n{lines}")
        for name, text in zip(TABLES, texts, strict=True):
            write_text(directory / name, text)


def compare_recipes(
    source_path: Path,
    recipes: Sequence[Recipe],
    out: Path,
    *,
    text: Sequence[Path] = (),
    calibration: Sequence[Path] = (),
    protocol: Protocol = Protocol(windows=8),
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    watch: Watch = lambda _: None,
    begun: Begun | None = None,
) -> CompareResult:
    """Quantize ``source_path`` by every recipe into ``out/<recipe>`` and measure each.

    Sources are those of :func:`~tersor.checkpoints.opening.open_source`; a GGUF file is restored to
    ``out/original`` first. All plans are made before any work starts, so a wrong recipe or an
    output that exists is found at once. The tables are written to ``out``. ``begun``: called with
    what the scoring will take, quantizing left out.
    If the run ends before, artifacts that are complete stay, and a warning names them.

    Raises :class:`~tersor.errors.RecipeError` for two recipes of the same name, and what
    :func:`~tersor.pipeline.quantize.quantize_to` raises.
    """
    if not recipes:
        raise OptionError("recipes", "names none; give at least one")
    check_different(recipe.name for recipe in recipes)
    refuse_texts(recipes, calibration)
    for path in text:
        open_text(path)
    source = open_source(source_path, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    plans = [make_plan(prepared(source, recipe), recipe) for recipe in recipes]
    _check_outputs(out, plans, source_path, force)
    with results_in(out):
        base_directory = source_path
        if source_path.is_file():
            base_directory = out / ORIGINAL
            restore(source_path, base_directory, force=force, progress=watch("restore"))
            source = open_source(base_directory)
        run = _Run(source, base_directory, out, text, calibration, protocol, force, watch, begun)
        if base_directory is not source_path:
            run.finished.append(base_directory)
        with run.saying_what_is_kept():
            rows = tuple(run.rows(plans))
            result = CompareResult(source_path, rows, tuple(run.scored), tuple(run.results))
            result.write(out)
    return result


@dataclass(frozen=True)
class _Run:
    source: Source
    base_directory: Path
    out: Path
    texts: Sequence[Path]
    calibration: Sequence[Path]
    protocol: Protocol
    force: bool
    watch: Watch
    begun: Begun | None
    finished: list[Path] = field(default_factory=list)
    scored: list[ScoredText] = field(default_factory=list)
    results: list[QuantizeResult] = field(default_factory=list)

    @contextmanager
    def saying_what_is_kept(self) -> Iterator[None]:
        """Name the artifacts that are complete if the rest does not come to an end."""
        try:
            yield
        except BaseException:
            if self.finished:
                names = ", ".join(map(str, self.finished))
                tables = "the tables there are an earlier run's"
                if not (self.out / TABLES[0]).exists():
                    tables = "no tables were written"
                warnings.warn(
                    f"complete and kept: {names}; {tables}; --force makes all again", stacklevel=2
                )
            raise

    def rows(self, plans: Sequence[Plan]) -> Iterable[CompareRow]:
        tokenizer = load_tokenizer(self.base_directory)
        self.scored.extend(scored_texts(self.base_directory, tokenizer, self.texts, self.protocol))
        original = load_source(self.source)
        if self.begun is not None:
            windows = [text.windows for text in self.scored]
            # The original runs twice: what it predicts is kept, then it is scored like the others.
            self.begun(foreseen(windows, original, None, models=len(plans) + 2))
        bases = []
        for text in self.scored:
            progress = self.watch("evaluate original")
            base = CachedBase(original, text.windows, self.out, skip=text.skip, progress=progress)
            bases.append(base)
            yield original_row(self.source, evaluate_text(original, text, base))
        del original
        for plan in plans:
            yield from self._recipe_rows(plan, bases)

    def _recipe_rows(self, plan: Plan, bases: list[CachedBase]) -> Iterable[CompareRow]:
        name = plan.recipe.name
        directory = self.out / name
        started = time.perf_counter()
        result = quantize_to(
            prepared(self.source, plan.recipe),
            plan,
            directory,
            calibration=self.calibration,
            force=self.force,
            progress=self.watch(f"quantize {name}"),
        )
        self.finished.append(directory)
        self.results.append(result)
        seconds = time.perf_counter() - started
        model = load(directory, kernels=False)
        for text, base in zip(self.scored, bases, strict=True):
            progress = self.watch(f"evaluate {name}")
            evaluation = evaluate_text(model, text, base, progress=progress)
            if text is self.scored[0]:
                update_card(directory, evaluation)
            yield recipe_row(plan, evaluation, seconds)


def _made_with(result: QuantizeResult) -> dict[str, Any]:
    made = result.plan.recipe.made
    return {
        "source_digest": result.source_digest,
        "digest": None if made is None else made.result,
        "calibration": [text.to_dict() for text in result.calibration],
    }


def _check_outputs(out: Path, plans: Sequence[Plan], source: Path, force: bool) -> None:
    needed = 0
    for plan in plans:
        needed += plan.bytes_at_most
        directory = out / plan.recipe.name
        OutputDirectory(directory, needed_bytes=needed, source=source, force=force).check()
