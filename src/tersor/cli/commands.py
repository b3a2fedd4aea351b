"""The commands. Each one parses, calls one function of the library, and prints."""

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli.app import app
from tersor.cli.options import (
    ActivationBits,
    AllowPickle,
    CacheType,
    CalibrationTexts,
    Context,
    DenseBits,
    Directory,
    Force,
    Json,
    MergeAdapter,
    Out,
    Skip,
    Source,
    Texts,
    Windows,
)
from tersor.cli.progress import bars
from tersor.errors import RecipeError


@app.command()
def restore(
    gguf: Annotated[
        Path,
        typer.Argument(
            help="A .gguf file, or a directory in FP8, MXFP4 or with an adapter.",
            show_default=False,
        ),
    ],
    out: Out,
    merge_adapter: MergeAdapter = False,
    force: Force = False,
) -> None:
    """Turn a GGUF file, or what is published in few bits, into a bfloat16 directory."""
    from tersor.checkpoints.restore import restore as run

    with bars() as watch:
        run(gguf, out, merge_adapter=merge_adapter, force=force, progress=watch("restore"))
    print(f"restored to {out}")


@app.command()
def quantize(
    source: Source,
    out: Out,
    recipe: Annotated[str, typer.Option(help="Preset or YAML file; see `tersor recipes`.")] = "w4",
    bits: Annotated[int | None, typer.Option(help="Bits per weight.", show_default=False)] = None,
    group_size: Annotated[
        int | None,
        typer.Option(help="Columns per scale; 0: one per channel.", show_default=False, min=0),
    ] = None,
    asymmetric: Annotated[bool, typer.Option("--asymmetric", help="Use zero points.")] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Also quantize: lm_head, embed_tokens, …", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave alone: o_proj, *.layers.0.*, re:…", show_default=False),
    ] = None,
    calibration: CalibrationTexts = None,
    tokens: Annotated[
        int | None, typer.Option(help="Calibration tokens.", show_default=False)
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a calibration window.",
            show_default="512, or what the model reads if less",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.", show_default=False)] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File from which an interrupted training goes on (distill, qat, best).",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the final size, read no weights.")
    ] = False,
    force: Force = False,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    as_json: Json = False,
) -> None:
    """Quantize a model into a directory that vLLM, transformers and tersor read."""
    from tersor.checkpoints.source import open_source
    from tersor.cli import show
    from tersor.pipeline.plan import make_plan
    from tersor.pipeline.prepare import prepared
    from tersor.pipeline.quantize import quantize_to
    from tersor.recipes import Adjustments, load_recipe

    adjustments = Adjustments(
        bits,
        group_size,
        asymmetric,
        tuple(include or ()),
        tuple(exclude or ()),
        tokens,
        seed,
        window,
    )
    chosen = adjustments.apply(load_recipe(recipe))
    found = open_source(source, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    opened = prepared(found, chosen)
    plan = make_plan(opened, chosen)
    if dry_run:
        show.plan(plan, as_json)
        return
    if calibration and not chosen.needs_calibration:
        raise RecipeError(f"recipe {chosen.name!r} uses no calibration; leave out --calibration")
    if checkpoint is not None and chosen.training is None:
        raise RecipeError(f"recipe {chosen.name!r} trains nothing; leave out --checkpoint")
    with bars() as watch:
        result = quantize_to(
            opened,
            plan,
            out,
            calibration=calibration or (),
            checkpoint=checkpoint,
            force=force,
            progress=watch("quantize"),
        )
    show.result(result, opened, as_json)


@app.command()
def evaluate(
    directory: Directory,
    base: Annotated[
        Path | None, typer.Option(help="The original, to compare with.", show_default=False)
    ] = None,
    text: Texts = None,
    context: Context = None,
    windows: Windows = None,
    skip: Skip = 0,
    engine: Annotated[
        bool, typer.Option("--engine", help="Run DIRECTORY by tersor's own kernels.")
    ] = False,
    activation_bits: ActivationBits = 8,
    cache: CacheType = "auto",
    dense_bits: DenseBits = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="lm-eval tasks, comma-separated (needs tersor[tasks]).", show_default=False
        ),
    ] = None,
    task_path: Annotated[
        Path | None,
        typer.Option(
            help="Directory with further lm-eval tasks; Python that they name is run.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Documents per task.", show_default="all", min=1)
    ] = None,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the loss into DIR/README.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure perplexity, divergence from the original, and task accuracy."""
    from tersor.cli import show
    from tersor.pipeline import evaluation
    from tersor.runtime.engine_options import EngineOptions

    if not engine and (activation_bits, cache, dense_bits) != (8, "auto", None):
        raise RecipeError(
            "--activation-bits, --cache and --dense-bits are the engine's; add --engine"
        )
    with bars() as watch:
        found = evaluation.evaluate_directory(
            directory,
            base=base,
            texts=text or (),
            protocol=evaluation.Protocol(context, windows, skip),
            engine=EngineOptions(activation_bits, cache, context, dense_bits=dense_bits)
            if engine
            else None,
            progress=watch("evaluate"),
        )
    scores = None
    if tasks is not None:
        scores = evaluation.evaluate_directory_tasks(
            directory, tasks.split(","), task_path, limit, kernels=engine
        )
    if update_card:
        evaluation.update_card(directory, found[0])
    show.evaluations(found, scores, as_json)


@app.command()
def compare(
    source: Source,
    recipes: Annotated[str, typer.Option(help="Recipes, comma-separated.", show_default=False)],
    out: Out,
    text: Texts = None,
    calibration: CalibrationTexts = None,
    context: Context = None,
    windows: Windows = 8,
    skip: Skip = 0,
    force: Force = False,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    as_json: Json = False,
) -> None:
    """Quantize by several recipes and print what each one cost."""
    from tersor.cli import show
    from tersor.pipeline.compare import compare_recipes
    from tersor.pipeline.evaluation import Protocol
    from tersor.recipes import load_recipe

    chosen = [load_recipe(name.strip()) for name in recipes.split(",")]
    with bars() as watch:
        comparison = compare_recipes(
            source,
            chosen,
            out,
            texts=text or (),
            calibration=calibration or (),
            protocol=Protocol(context, windows, skip),
            allow_pickle=allow_pickle,
            merge_adapter=merge_adapter,
            force=force,
            watch=watch,
        )
    show.comparison(comparison, out, as_json)


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Print this recipe.", show_default=False)
    ] = None,
) -> None:
    """List the presets, or print one as YAML."""
    from tersor.recipes import load_recipe, preset_names, preset_text

    if name is not None:
        print(preset_text(name), end="")
        return
    width = max(map(len, preset_names()))
    for preset in preset_names():
        print(f"{preset:<{width}}  {load_recipe(preset).description}")


@app.command()
def demo(
    out: Out,
    recipes: Annotated[
        str, typer.Option(help="Recipes, comma-separated.", show_default="seven of them")
    ] = "",
    windows: Windows = 8,
    force: Force = False,
) -> None:
    """Quantize a small model from PyPI by several recipes, compare them, generate a sentence."""
    from tersor.cli import show
    from tersor.demo import PROMPT, RECIPES, demo_model
    from tersor.pipeline.compare import compare_recipes
    from tersor.pipeline.evaluation import Protocol
    from tersor.recipes import load_recipe
    from tersor.runtime.generate import generate_text

    names = recipes.split(",") if recipes else list(RECIPES)
    chosen = [load_recipe(name.strip()) for name in names]
    with bars() as watch:
        comparison = compare_recipes(
            demo_model(),
            chosen,
            out,
            protocol=Protocol(windows=windows),
            force=force,
            watch=watch,
        )
    show.comparison(comparison, out, False)
    first = out / chosen[0].name
    text = generate_text(first, PROMPT, max_new_tokens=40)
    print(f"\n{first} continues:\n{PROMPT}{text}")
