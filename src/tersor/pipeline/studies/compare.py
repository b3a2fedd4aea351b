"""``compare``: several recipes on one model, measured on the same text."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from tersor.calibration.text import open_text
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.output.results import results_in
from tersor.checkpoints.restore import restore
from tersor.checkpoints.source import Source
from tersor.errors import OptionError
from tersor.pipeline.planning import Plan, make_plan
from tersor.pipeline.planning.prepare import prepared
from tersor.pipeline.quantize import output
from tersor.pipeline.studies.comparison import ComparedArtifact, CompareResult
from tersor.pipeline.studies.effort import Begun
from tersor.pipeline.studies.keeping import Kept, key_of, source_key
from tersor.pipeline.studies.measuring import Measures, Measuring
from tersor.pipeline.studies.quantizing import Made, Quantizing, Watch
from tersor.pipeline.studies.rows import (
    CompareRow,
    original_row,
    recipe_row,
    with_best,
    with_measures,
)
from tersor.pipeline.whole_model.given_texts import refuse_texts
from tersor.recipes import Recipe
from tersor.recipes.naming import ORIGINAL, TABLES, check_different


def compare_recipes(
    source_path: Path,
    recipes: Sequence[Recipe],
    out: Path,
    *,
    text: Sequence[Path] = (),
    calibration: Sequence[Path] = (),
    measures: Measures = Measures(),
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    watch: Watch = lambda _: None,
    begun: Begun | None = None,
    written: Callable[[CompareResult], None] = lambda _: None,
) -> CompareResult:
    """Quantize ``source_path`` by every recipe into ``out/<recipe>`` and measure each.

    Sources are those of :func:`~tersor.checkpoints.opening.open_source`; a GGUF file is restored to
    ``out/original`` first. All plans are made before any work starts, so a wrong recipe or an
    output that exists is found at once. The tables are written to ``out``, and ``written`` may add
    to them. ``begun``: called with what the scoring will take, quantizing left out.

    What was made or measured before in ``out`` from the same model, texts, recipe and versions is
    not made again, unless ``force``: a study goes on where it was interrupted, and grows. If the
    run ends before, artifacts that are complete stay, and a warning names them.

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
    # Reading a model takes a while: its key is asked for when all else is found to be well.
    of_source = cache(partial(source_key, source))
    complete: list[Path] = []
    with results_in(out), _saying_what_is_kept(out, complete):
        kept = Kept(out, anew=force)
        quantizing = Quantizing(of_source, out, kept, calibration, force, watch)
        measuring = Measuring(of_source, out, kept, text, measures, watch, begun)
        if source_path.is_dir():
            measuring.look_at(source, source_path)
        _check_outputs(out, plans, quantizing, source, force)
        if not source_path.is_dir():
            directory = _original(source_path, of_source(), out, kept, force, watch)
            complete.append(directory)
            source = open_source(directory)
            measuring.look_at(source, directory)
        study = _Study(source, plans, quantizing, measuring, complete)
        rows = study.rows()
        timing = measures.timing
        result = CompareResult(
            source_path,
            with_best(rows),
            measuring.texts,
            tuple(study.artifacts),
            None if timing is None else (timing.prompt_tokens, timing.new_tokens),
        )
        result.write(out)
        written(result)
    return result


class _Study:
    def __init__(
        self,
        source: Source,
        plans: Sequence[Plan],
        quantizing: Quantizing,
        measuring: Measuring,
        complete: list[Path],
    ) -> None:
        self._source, self._plans, self._complete = source, plans, complete
        self._quantizing, self.measuring = quantizing, measuring
        self.artifacts: list[ComparedArtifact] = []

    def rows(self) -> list[CompareRow]:
        keys = [self._quantizing.key(plan) for plan in self._plans]
        measuring = self.measuring
        measuring.begin(keys)
        found = [
            with_measures(
                original_row(self._source, evaluation),
                measuring.rates(measuring.original, measuring.directory),
                measuring.accuracies(measuring.original, measuring.directory),
            )
            for evaluation in measuring.losses_of_original()
        ]
        for plan, key in zip(self._plans, keys, strict=True):
            made = self._quantizing.made(prepared(self._source, plan.recipe), plan, key)
            self._complete.append(made.directory)
            found += self._measured(plan, key, made)
        return found

    def _measured(self, plan: Plan, key: str, made: Made) -> Iterator[CompareRow]:
        measuring, directory = self.measuring, made.directory
        losses, travel = measuring.losses(key, directory)
        rates = measuring.rates(key, directory)
        accuracies = measuring.accuracies(key, directory)
        self.artifacts.append(
            ComparedArtifact(
                plan.recipe.name,
                directory,
                made.made_with,
                made.calibrated,
                made.seconds,
                travel,
                "" if rates is None else rates.why_not,
            )
        )
        for evaluation in losses:
            row = recipe_row(plan, made.bytes, evaluation, made.seconds)
            yield with_measures(row, rates, accuracies)


def _original(file: Path, of_source: str, out: Path, kept: Kept, force: bool, watch: Watch) -> Path:
    """The directory that a GGUF file is restored to."""
    directory, key = out / ORIGINAL, key_of("restored", of_source)
    if kept.directory(key, directory) is None:
        restore(file, directory, force=force, progress=watch("restore"))
        kept.add_directory(key, directory, {})
    return directory


@contextmanager
def _saying_what_is_kept(out: Path, complete: list[Path]) -> Iterator[None]:
    """Name the artifacts that are complete if the rest does not come to an end."""
    try:
        yield
    except BaseException:
        if complete:
            names = ", ".join(map(str, complete))
            tables = "the tables there are an earlier run's"
            if not (out / TABLES[0]).exists():
                tables = "no tables were written"
            warnings.warn(
                f"complete and kept: {names}; {tables}; the same command goes on from here",
                stacklevel=2,
            )
        raise


def _check_outputs(
    out: Path, plans: Sequence[Plan], quantizing: Quantizing, source: Source, force: bool
) -> None:
    """Look at every place where something will be written."""
    for plan in plans:
        exists = (out / plan.recipe.name).exists()
        if not exists or quantizing.before(plan, quantizing.key(plan)) is None:
            output(plan, out / plan.recipe.name, force=force, source=source).check()
