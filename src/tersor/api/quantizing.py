"""The verbs of tersor as functions; the command line checks by the same code.

Where several values are meant, one alone may be given: a string is never taken letter by letter.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch

from tersor.checkpoints.restore import restore as restored
from tersor.checkpoints.source import shapes_of
from tersor.evaluation import Evaluation
from tersor.machine.memory import shortage_named
from tersor.models.in_transformers.sizes import check_sizes
from tersor.options import of_kind, one_path, several, some_paths, yes_or_no
from tersor.pipeline.request import requested
from tersor.pipeline.result import Result
from tersor.pipeline.studies.compare import Comparison, compare_recipes
from tersor.pipeline.studies.evaluate import Protocol, evaluate_directory
from tersor.recipes import Adjustments, AnyRecipe, Recipe, known_recipe
from tersor.runtime.conversation.generate import generate_text
from tersor.runtime.engine.options import EngineOptions

Progress = Callable[[int, int], None]
AnyPath = str | Path


@shortage_named("to quantize")
def quantize(
    source: AnyPath,
    out: AnyPath,
    recipe: AnyRecipe = "w4",
    *,
    adjustments: Adjustments = Adjustments(),
    calibration: AnyPath | Sequence[AnyPath] = (),
    checkpoint: AnyPath | None = None,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Quantize a Hugging Face directory or GGUF file into the directory ``out``.

    ``recipe``: a preset's name, a YAML file, or a value. ``calibration``: text files for recipes
    that look at activations. ``checkpoint``: file in which training keeps its state and from which
    it goes on if it was interrupted. ``allow_pickle``: accept ``.bin`` weights.
    ``merge_adapter``: merge the LoRA adapter in the directory. ``force``: replace ``out``.
    ``progress``: called with how much is done and how much there is, in bytes or blocks.

    Raises a :class:`~tersor.errors.TersorError`; then nothing has changed on disk.
    """
    return requested(
        source,
        out,
        recipe,
        adjustments=adjustments,
        calibration=calibration,
        checkpoint=checkpoint,
        allow_pickle=allow_pickle,
        merge_adapter=merge_adapter,
        force=force,
    ).run(progress)


@shortage_named("to restore")
def restore(
    gguf: AnyPath,
    out: AnyPath,
    *,
    dtype: torch.dtype = torch.bfloat16,
    merge_adapter: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the model of a GGUF file, or of a directory in FP8, MXFP4 or with an adapter, plainly.

    ``dtype``: of the weights of a GGUF file. ``merge_adapter``: merge the LoRA adapter in the
    directory. ``force``: replace ``out``. ``progress``: called with bytes done and bytes in all.
    Returns ``out``.

    Raises a :class:`~tersor.errors.TersorError`; then nothing has changed on disk.
    """
    return restored(
        one_path("gguf", gguf),
        one_path("out", out),
        dtype=dtype,
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        force=yes_or_no("force", force),
        progress=progress,
        check=lambda found: check_sizes(found.path, found.config, shapes_of(found)),
    )


@shortage_named("to evaluate")
def evaluate(
    directory: AnyPath,
    *,
    base: AnyPath | None = None,
    texts: AnyPath | Sequence[AnyPath] = (),
    context: int | None = None,
    windows: int | None = None,
    skip: int = 0,
    engine: EngineOptions | None = None,
) -> tuple[Evaluation, ...]:
    """Perplexity, and against ``base`` the KL divergence, one result per text file.

    ``windows`` of ``context`` tokens (1024, or what the model reads if that is less), the first
    ``skip`` positions of each unscored. Without texts the public-domain one that comes with tersor
    is used. ``engine``: run ``directory`` by the engine, and measure what its kernels round too.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    return evaluate_directory(
        one_path("directory", directory),
        base=None if base is None else one_path("base", base),
        texts=some_paths("texts", texts),
        protocol=Protocol(context, windows, skip),
        engine=None if engine is None else of_kind("engine", engine, EngineOptions),
    )


@shortage_named("to compare")
def compare(
    source: AnyPath,
    recipes: AnyRecipe | Sequence[AnyRecipe],
    out: AnyPath,
    *,
    texts: AnyPath | Sequence[AnyPath] = (),
    calibration: AnyPath | Sequence[AnyPath] = (),
    context: int | None = None,
    windows: int | None = 8,
    skip: int = 0,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
) -> Comparison:
    """Quantize ``source`` by every recipe and measure each on the same text.

    Raises a :class:`~tersor.errors.TersorError`.
    """
    return compare_recipes(
        one_path("source", source),
        several("recipes", recipes, known_recipe, str, PathLike, Mapping, Recipe),
        one_path("out", out),
        texts=some_paths("texts", texts),
        calibration=some_paths("calibration", calibration),
        protocol=Protocol(context, windows, skip),
        allow_pickle=yes_or_no("allow_pickle", allow_pickle),
        merge_adapter=yes_or_no("merge_adapter", merge_adapter),
        force=yes_or_no("force", force),
    )


def generate(directory: AnyPath, prompt: str, *, max_new_tokens: int = 64) -> str:
    """Greedy continuation of ``prompt``. Raises a :class:`~tersor.errors.TersorError`."""
    return generate_text(one_path("directory", directory), prompt, max_new_tokens=max_new_tokens)
