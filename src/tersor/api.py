"""The verbs of tersor as functions; the command line calls these."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tersor.checkpoints.source import open_source
from tersor.evaluation import Evaluation
from tersor.pipeline.compare import Comparison, compare_recipes
from tersor.pipeline.evaluation import Protocol, evaluate_directory
from tersor.pipeline.plan import make_plan
from tersor.pipeline.prepare import prepared
from tersor.pipeline.quantize import quantize_to
from tersor.pipeline.result import Result
from tersor.recipes import Adjustments, Recipe, load_recipe
from tersor.runtime.engine_options import EngineOptions
from tersor.runtime.generate import generate_text

Progress = Callable[[int, int], None]


def quantize(
    source: str | Path,
    out: str | Path,
    recipe: str | Path | Recipe = "w4",
    *,
    adjustments: Adjustments = Adjustments(),
    calibration: Sequence[str | Path] = (),
    checkpoint: str | Path | None = None,
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
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    adjusted = adjustments.apply(chosen)
    found = open_source(source, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    opened = prepared(found, adjusted)
    plan = make_plan(opened, adjusted)
    texts = [Path(text) for text in calibration]
    return quantize_to(
        opened,
        plan,
        Path(out),
        calibration=texts,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        force=force,
        progress=progress,
    )


def evaluate(
    directory: str | Path,
    *,
    base: str | Path | None = None,
    texts: Sequence[str | Path] = (),
    context: int | None = None,
    windows: int | None = None,
    skip: int = 0,
    engine: EngineOptions | None = None,
) -> tuple[Evaluation, ...]:
    """Perplexity, and against ``base`` the KL divergence, one result per text file.

    ``windows`` of ``context`` tokens (1024, or what the model reads if that is less), the first
    ``skip`` positions of each unscored. Without texts the public-domain one that comes with tersor
    is used. ``engine``: run ``directory`` by the engine, and measure what its kernels round too.
    """
    return evaluate_directory(
        Path(directory),
        base=None if base is None else Path(base),
        texts=[Path(text) for text in texts],
        protocol=Protocol(context, windows, skip),
        engine=engine,
    )


def compare(
    source: str | Path,
    recipes: Sequence[str | Path | Recipe],
    out: str | Path,
    *,
    texts: Sequence[str | Path] = (),
    calibration: Sequence[str | Path] = (),
    context: int | None = None,
    windows: int | None = 8,
    skip: int = 0,
    allow_pickle: bool = False,
    merge_adapter: bool = False,
    force: bool = False,
) -> Comparison:
    """Quantize ``source`` by every recipe and measure each on the same text."""
    return compare_recipes(
        Path(source),
        [recipe if isinstance(recipe, Recipe) else load_recipe(recipe) for recipe in recipes],
        Path(out),
        texts=[Path(text) for text in texts],
        calibration=[Path(text) for text in calibration],
        protocol=Protocol(context, windows, skip),
        allow_pickle=allow_pickle,
        merge_adapter=merge_adapter,
        force=force,
    )


def generate(directory: str | Path, prompt: str, *, max_new_tokens: int = 64) -> str:
    """Greedy continuation of ``prompt``."""
    return generate_text(Path(directory), prompt, max_new_tokens=max_new_tokens)
