"""What was lost: ``evaluate``, ``compare``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from tersor.checkpoints.hub.fetching import model_path
from tersor.evaluation import find_tasks
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, limits, one_path, refuse_without, several, some_paths, yes_or_no
from tersor.pages import write_page
from tersor.pages.study import study_page
from tersor.pipeline.studies import evaluate as studies
from tersor.pipeline.studies.compare import compare_recipes
from tersor.pipeline.studies.comparison import REPORT, CompareResult
from tersor.pipeline.studies.effort import Begun
from tersor.pipeline.studies.evaluate import Protocol
from tersor.pipeline.studies.found import EvaluateResult
from tersor.pipeline.studies.measuring import Measures
from tersor.pipeline.studies.quantizing import Watch
from tersor.pipeline.studies.widths import crossed
from tersor.recipes import AnyRecipe, Recipe, known_recipe
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.measuring.bench import Timing
from tersor.runtime.origin import recipe_of

Progress = Callable[[int, int], None]


@shortage_named("to evaluate")
def evaluate(
    directory: AnyPath,
    *,
    base: AnyPath | None = None,
    text: AnyPath | Sequence[AnyPath] = (),
    context: int | None = None,
    windows: int | None = None,
    skip: int = 0,
    engine: bool = False,
    activation_bits: int = 8,
    cache: str = "auto",
    dense_bits: int | None = None,
    tasks: str | Sequence[str] | None = None,
    task_path: AnyPath | None = None,
    limit: int | None = None,
    update_card: bool = False,
    progress: Progress | None = None,
    begun: Begun | None = None,
    measured: Callable[[EvaluateResult], None] | None = None,
) -> EvaluateResult:
    """Perplexity, and against ``base`` the KL divergence, on each file of ``text``; task accuracy.

    ``windows`` of ``context`` tokens (1024, or what the model reads if that is less), the first
    ``skip`` positions of each unscored. Without any the public-domain one that comes with tersor
    is used. ``engine``: run ``directory`` by the engine, and measure what its kernels round too;
    ``activation_bits``, ``cache`` and ``dense_bits`` are the engine's, see
    :class:`~tersor.Engine`. ``tasks``: of lm-eval (needs ``tersor[tasks]``), ``limit`` documents of
    each, with those defined in the directory ``task_path``. ``update_card``: write the loss
    into the model card of ``directory``. ``progress``: called with windows done and windows in all.
    ``begun``: called with what scoring will take, before it starts. ``measured``: called with what
    was found on text, before tasks are run.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    found, original = model_path("directory", directory), _path_or_none("base", base)
    given = some_paths("text", text)
    options = EngineOptions(activation_bits, cache, dense_bits=dense_bits)
    by_engine = options if yes_or_no("engine", engine) else None
    changed = {name: getattr(options, name) for name in options.changed()}
    refuse_without("engine", engine, changed)
    refuse_without("tasks", tasks is not None, {"task_path": task_path, "limit": limit})
    protocol = Protocol(context, windows, skip)
    if yes_or_no("update_card", update_card):
        studies.check_card(found, original, given)
    asked = None if tasks is None else find_tasks(tasks, include_path=task_path, limit=limit)
    evaluations = studies.evaluate_directory(
        found,
        base=original,
        text=given,
        protocol=protocol,
        engine=by_engine,
        progress=progress,
        begun=begun,
    )
    if update_card:
        studies.update_card(found, evaluations[0])
    result = EvaluateResult(found, recipe_of(found), original, evaluations)
    if measured is not None:
        measured(result)
    if asked is None:
        return result
    scores = studies.evaluate_directory_tasks(found, asked, engine=by_engine)
    return replace(result, tasks=scores)


@shortage_named("to compare")
def compare(
    source: AnyPath,
    recipes: AnyRecipe | Sequence[AnyRecipe],
    out: AnyPath,
    *,
    text: AnyPath | Sequence[AnyPath] = (),
    calibration: AnyPath | Sequence[AnyPath] = (),
    bits: int | Sequence[int] = (),
    context: int | None = None,
    windows: int | None = 8,
    skip: int = 0,
    speed: bool = False,
    tasks: str | Sequence[str] | None = None,
    task_path: AnyPath | None = None,
    limit: int | None = None,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    watch: Watch = lambda _: None,
    begun: Begun | None = None,
) -> CompareResult:
    """Quantize ``source`` by every recipe into ``out`` and measure each on the same text.

    Each recipe is given as to :func:`~tersor.quantize`, and each result is in a directory of its
    name; ``compare.html`` is the report, and ``compare.csv``, ``compare.json`` and ``compare.md``
    have the rows. ``bits``: every recipe at each of these widths. ``text``, ``context``,
    ``windows`` and ``skip``: as of :func:`~tersor.evaluate`, but 8 windows where nothing is said.
    ``speed``: also time what the engine runs. ``tasks``, ``task_path``, ``limit``: as of
    :func:`~tersor.evaluate`. What was made and measured in ``out`` before, from the same model,
    texts, recipe and versions, is not made again, so that a study goes on where it was interrupted,
    and grows; ``force`` makes all anew. ``calibration``, ``allow_pickle``, ``merge_adapter``: as of
    :func:`~tersor.quantize`. ``watch``: given the name of a piece of work, returns what is called
    with how much of it is done and how much there is, or ``None``. ``begun``: called with what the
    scoring of all of them will take, before anything is scored or quantized.

    Raises a :class:`~tersor.errors.TersorError`; artifacts that are complete stay.
    """
    refuse_without("tasks", tasks is not None, {"task_path": task_path, "limit": limit})
    chosen = several("recipes", recipes, known_recipe, str, PathLike, Mapping, Recipe)
    place = one_path("out", out)
    asked = None if tasks is None else find_tasks(tasks, include_path=task_path, limit=limit)
    timing = Timing() if yes_or_no("speed", speed) else None
    return compare_recipes(
        model_path("source", source),
        crossed(chosen, several("bits", bits, _width, Integral)),
        place,
        text=some_paths("text", text),
        calibration=some_paths("calibration", calibration),
        measures=Measures(Protocol(context, windows, skip), timing, asked),
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        force=yes_or_no("force", force),
        watch=watch,
        begun=begun,
        written=lambda found: write_page(place / REPORT, study_page(found)),
    )


def _width(_: str, given: Any) -> int:
    return limits.BITS(given)


def _path_or_none(name: str, path: AnyPath | None) -> Path | None:
    return None if path is None else model_path(name, path)
