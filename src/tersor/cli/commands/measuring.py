"""What was lost: evaluate, compare, sensitivity, demo."""

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
    RecipeName,
    Skip,
    Source,
    Texts,
    Windows,
    WindowsOfAll,
    several_recipe_names,
)
from tersor.cli.printing.progress import bars
from tersor.options import comma_separated, limits, whole_numbers

TaskNames = Annotated[
    str | None,
    typer.Option(
        help="lm-eval tasks, comma-separated (needs tersor\\[tasks]).", show_default=False
    ),
]
TaskPath = Annotated[
    Path | None,
    typer.Option(
        help="Directory with further lm-eval tasks; Python that they name is run.",
        show_default=False,
    ),
]
TaskLimit = Annotated[int | None, typer.Option(help="Documents per task.", show_default="all")]


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
    tasks: TaskNames = None,
    task_path: TaskPath = None,
    limit: TaskLimit = None,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the loss into DIR/README.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure perplexity, divergence from the original, and task accuracy."""
    import tersor
    from tersor.cli.printing import show

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
    bits: Annotated[
        str | None,
        typer.Option(
            help="Each recipe at these widths, as 2,3,4.", show_default="the recipe's own"
        ),
    ] = None,
    context: Context = None,
    windows: Windows = 8,
    skip: Skip = 0,
    speed: Annotated[
        bool, typer.Option("--speed", help="Also time what tersor's engine runs.")
    ] = False,
    tasks: TaskNames = None,
    task_path: TaskPath = None,
    limit: TaskLimit = None,
    force: Force = False,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    as_json: Json = False,
) -> None:
    """Quantize by several recipes, print what each one cost, and write a report."""
    import tersor
    from tersor.cli.printing import show

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
            bits=() if bits is None else whole_numbers("bits", bits),
            speed=speed,
            tasks=None if tasks is None else comma_separated("tasks", tasks),
            task_path=task_path,
            limit=limit,
            allow_pickle=allow_pickle,
            merge_adapter=merge_adapter,
            force=force,
            watch=watch,
            begun=None if as_json else show.effort,
        )
    show.comparison(result, out, as_json)


@app.command()
def sensitivity(
    source: Source,
    recipe: RecipeName = "w4",
    schemes: Annotated[
        str,
        typer.Option(help="Widths, comma-separated: w4, w3g32 (groups), w8c (per channel)."),
    ] = "w3,w4,w8",
    by: Annotated[str, typer.Option(help=f"What is quantized alone: {limits.BY.span}.")] = "linear",
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Measure every part too, which takes long; estimates do not."),
    ] = False,
    exact_sample: Annotated[
        int | None,
        typer.Option(help="Measure so many parts, drawn by --seed.", show_default="none"),
    ] = None,
    calibration: CalibrationTexts = None,
    tokens: Annotated[int, typer.Option(help="Tokens to predict.")] = 4096,
    window: Annotated[int, typer.Option(help="Tokens of a window.")] = 128,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML report to write.", show_default=False)
    ] = None,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    as_json: Json = False,
) -> None:
    """Show what quantizing each linear, block or role alone does to the predictions."""
    import tersor
    from tersor.cli.printing.sensitivity import sensitivity as show_sensitivity

    with bars() as watch:
        result = tersor.sensitivity(
            source,
            recipe,
            schemes=comma_separated("schemes", schemes),
            by=by,
            exact=exact,
            exact_sample=exact_sample,
            calibration=calibration or (),
            tokens=tokens,
            window=window,
            seed=seed,
            out=out,
            allow_pickle=allow_pickle,
            merge_adapter=merge_adapter,
            watch=watch,
        )
    show_sensitivity(result, as_json, out)


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
    from tersor.cli.printing import show
    from tersor.cli.printing.layout import say

    model, chosen = demo.demo_model(), demo.demo_recipes()
    if recipes is not None:
        chosen = [tersor.load_recipe(name) for name in comma_separated("recipes", recipes)]
    with bars() as watch:
        result = tersor.compare(model, chosen, out, windows=windows, force=force, watch=watch)
        if recipes is None:
            say(demo.shortened(windows), 2)
        show.comparison(result, out, False)
        both = (out / "original", result.artifacts[-1].directory)
        before, after = (
            tersor.bench(one, prompt_tokens=128, new_tokens=32, progress=watch(f"time {one}"))
            for one in both
        )
    show.speeds(before, after)
    show.asked(demo.QUESTION, {one: demo.answer(one) for one in both})
    show.report(out)
