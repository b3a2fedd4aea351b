"""Models made smaller: quantize, restore, recipes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tersor.cli.app import app
from tersor.cli.ending import ended_by_sigterm
from tersor.cli.options import (
    AllowPickle,
    AnyWidths,
    CalibrationTexts,
    Force,
    FormatName,
    Json,
    MaxKl,
    MergeAdapter,
    Out,
    RecipeName,
    Source,
    TargetBits,
    TargetSize,
    recipe_names,
)
from tersor.cli.printing.progress import bars
from tersor.options import limits


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
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the unfinished run on this output, if any."),
    ] = False,
    format: FormatName = None,  # noqa: A002 - as it is called in the field
    target: Annotated[
        str | None,
        typer.Option(
            help="Engine that shall run it: vllm, sglang, transformers, llama.cpp, openvino, mlx.",
            show_default=False,
        ),
    ] = None,
    target_bits: TargetBits = None,
    target_size: TargetSize = None,
    max_kl: MaxKl = None,
    any_widths: AnyWidths = False,
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
    from tersor.cli.printing import show

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
        "resume": resume,
        "format": format,
        "target": target,
        "allow_pickle": allow_pickle,
        "merge_adapter": merge_adapter,
        "force": force,
        "target_bits": target_bits,
        "target_size": target_size,
        "max_kl": max_kl,
        "any_widths": any_widths,
    }
    budget = target_bits is not None or target_size is not None or max_kl is not None
    left = "no output was written" if budget else "go on with --resume"
    with bars() as watch, ended_by_sigterm(f"terminated; {left}"):
        if dry_run:
            planned = tersor.plan(source, recipe, out=out, **given, watch=watch)
        else:
            progress = watch("quantize")
            result = tersor.quantize(source, out, recipe, **given, progress=progress, watch=watch)
    if dry_run:
        show.plan(planned, as_json)
        return
    show.result(result, as_json)


@app.command()
def status(
    out: Annotated[Path, typer.Argument(help="Output of a run of `quantize`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show how far a run of `quantize` has come, whether it lives, and how long it will take."""
    import tersor
    from tersor.cli.printing import running

    running.status(tersor.status(out), as_json)


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
    from tersor.cli.printing import show
    from tersor.recipes import preset_text

    if name is None:
        show.presets(tersor.list_presets(), as_json)
    elif as_json:
        show.print_json(tersor.load_recipe(name).to_dict())
    else:
        print(preset_text(name), end="")
