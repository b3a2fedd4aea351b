"""What was lost: ``evaluate``, ``compare``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from tersor.evaluation import find_tasks
from tersor.machine.memory import shortage_named
from tersor.options import AnyPath, one_path, refuse_without, several, some_paths, yes_or_no
from tersor.pipeline.studies import evaluate as studies
from tersor.pipeline.studies.compare import CompareResult, Watch, compare_recipes
from tersor.pipeline.studies.effort import Begun
from tersor.pipeline.studies.evaluate import Protocol
from tersor.pipeline.studies.found import EvaluateResult
from tersor.recipes import AnyRecipe, Recipe, known_recipe
from tersor.runtime.engine.options import EngineOptions
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
    found, original = one_path("directory", directory), _path_or_none("base", base)
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
    context: int | None = None,
    windows: int | None = 8,
    skip: int = 0,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    watch: Watch = lambda _: None,
    begun: Begun | None = None,
) -> CompareResult:
    """Quantize ``source`` by every recipe into ``out`` and measure each on the same text.

    Each recipe is given as to :func:`~tersor.quantize`, and each result is in a directory of its
    name; ``compare.csv``, ``compare.json`` and ``compare.md`` are beside them. ``text``,
    ``context``, ``windows`` and ``skip``: as of :func:`~tersor.evaluate`, but 8 windows where
    nothing is said. ``calibration``, ``allow_pickle``, ``merge_adapter``, ``force``: as of
    :func:`~tersor.quantize`. ``watch``: given the name of a piece of work, returns what is called
    with how much of it is done and how much there is, or ``None``. ``begun``: called with what
    the scoring of all of them will take, before anything is scored or quantized.

    Raises a :class:`~tersor.errors.TersorError`; artifacts that are complete stay.
    """
    return compare_recipes(
        one_path("source", source),
        several("recipes", recipes, known_recipe, str, PathLike, Mapping, Recipe),
        one_path("out", out),
        text=some_paths("text", text),
        calibration=some_paths("calibration", calibration),
        protocol=Protocol(context, windows, skip),
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        force=yes_or_no("force", force),
        watch=watch,
        begun=begun,
    )


def _path_or_none(name: str, path: AnyPath | None) -> Path | None:
    return None if path is None else one_path(name, path)
