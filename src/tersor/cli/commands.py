"""The commands. Each one parses, calls one function of the library, and prints."""

from pathlib import Path
from typing import Annotated, Any

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
    RecipeName,
    Skip,
    Source,
    Texts,
    Windows,
    WindowsOfAll,
    recipe_names,
    several_recipe_names,
)
from tersor.cli.progress import bars
from tersor.options import comma_separated, limits


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
    import tersor

    with bars() as watch:
        progress = watch("restore")
        tersor.restore(gguf, out, merge_adapter=merge_adapter, force=force, progress=progress)
    print(f"restored to {out}")


@app.command()
def quantize(
    source: Source,
    out: Out,
    recipe: RecipeName = "w4",
    bits: Annotated[
        int | None,
        typer.Option(
            help=f"Bits per weight, {limits.BITS.span}.",
            show_default="the recipe's",
            callback=limits.BITS.or_none,
        ),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(
            help="Columns per scale; 0: one per channel.",
            show_default="the recipe's",
            callback=limits.GROUP_SIZE.or_none,
        ),
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
        int | None,
        typer.Option(
            help="Calibration tokens.",
            show_default="the recipe's",
            callback=limits.TOKENS.or_none,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a calibration window.",
            show_default="the recipe's, or what the model reads if less",
            callback=limits.WINDOW.or_none,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Random seed.", show_default="the recipe's", callback=limits.SEED.or_none
        ),
    ] = None,
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
    import tersor
    from tersor.cli import show

    given: dict[str, Any] = {
        "bits": bits,
        "group_size": group_size,
        "asymmetric": asymmetric,
        "include": include or (),
        "exclude": exclude or (),
        "tokens": tokens,
        "window": window,
        "seed": seed,
        "calibration": calibration or (),
        "checkpoint": checkpoint,
        "allow_pickle": allow_pickle,
        "merge_adapter": merge_adapter,
        "force": force,
    }
    if dry_run:
        show.plan(tersor.plan(source, recipe, out=out, **given), as_json)
        return
    with bars() as watch:
        progress = watch("quantize")
        result = tersor.quantize(source, out, recipe, **given, progress=progress)
    show.result(result, as_json)


@app.command()
def evaluate(
    directory: Directory,
    base: Annotated[
        Path | None, typer.Option(help="The original, to compare with.", show_default=False)
    ] = None,
    text: Texts = None,
    context: Context = None,
    windows: WindowsOfAll = None,
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
            help="lm-eval tasks, comma-separated (needs tersor\\[tasks]).", show_default=False
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
        int | None, typer.Option(help="Documents per task.", show_default="all")
    ] = None,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the loss into DIR/README.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure perplexity, divergence from the original, and task accuracy."""
    import tersor
    from tersor.cli import show

    with show.evaluation(as_json) as shown, bars() as watch:
        result = tersor.evaluate(
            directory,
            base=base,
            text=text or (),
            context=context,
            windows=windows,
            skip=skip,
            engine=engine,
            activation_bits=activation_bits,
            cache=cache,
            dense_bits=dense_bits,
            tasks=None if tasks is None else comma_separated("tasks", tasks),
            task_path=task_path,
            limit=limit,
            update_card=update_card,
            progress=watch("evaluate"),
            begun=None if as_json else show.effort,
            measured=shown,
        )
        shown(result)


@app.command()
def compare(
    source: Source,
    recipes: Annotated[
        str,
        typer.Option(
            help="Recipes, comma-separated.",
            show_default=False,
            autocompletion=several_recipe_names,
        ),
    ],
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
    import tersor
    from tersor.cli import show

    with bars() as watch:
        result = tersor.compare(
            source,
            comma_separated("recipes", recipes),
            out,
            text=text or (),
            calibration=calibration or (),
            context=context,
            windows=windows,
            skip=skip,
            allow_pickle=allow_pickle,
            merge_adapter=merge_adapter,
            force=force,
            watch=watch,
            begun=None if as_json else show.effort,
        )
    show.comparison(result, out, as_json)


@app.command()
def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="Print this recipe.", show_default=False, autocompletion=recipe_names),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the presets with what each is for and costs, or print one as YAML."""
    import tersor
    from tersor.cli import show
    from tersor.recipes import preset_text

    if name is None:
        show.presets(tersor.list_presets(), as_json)
    elif as_json:
        show.print_json(tersor.load_recipe(name).to_dict())
    else:
        print(preset_text(name), end="")


@app.command()
def demo(
    out: Out,
    recipes: Annotated[
        str | None,
        typer.Option(
            help="Recipes, comma-separated; the last one is timed and asked.",
            show_default="vanilla-int8,w4,gptq",
            autocompletion=several_recipe_names,
        ),
    ] = None,
    windows: Windows = 2,
    force: Force = False,
) -> None:
    """Quantize a small model from PyPI, compare, time it before and after, and ask it something."""
    import tersor
    from tersor import demo
    from tersor.cli import show
    from tersor.cli.layout import say

    model, chosen = demo.demo_model(), demo.demo_recipes()
    if recipes is not None:
        chosen = [tersor.load_recipe(name) for name in comma_separated("recipes", recipes)]
    with bars() as watch:
        result = tersor.compare(model, chosen, out, windows=windows, force=force, watch=watch)
        if recipes is None:
            say(demo.shortened(windows), 2)
        show.comparison(result, out, False)
        both = (out / "original", result.results[-1].directory)
        before, after = (
            tersor.bench(one, prompt_tokens=128, new_tokens=32, progress=watch(f"time {one}"))
            for one in both
        )
    show.speeds(before, after)
    show.asked(demo.QUESTION, {one: demo.answer(one) for one in both})
