"""Why and where something is lost: explain, inspect."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tersor.cli.app import app
from tersor.cli.options import AllowPickle, Force, Json, MergeAdapter, PageFile, recipe_names
from tersor.cli.printing.progress import bars
from tersor.errors import OptionError
from tersor.options import limits

_NUMBERS = re.compile(r"[-+0-9.,e]+")


@app.command()
def explain(
    source: Annotated[
        Path | None,
        typer.Argument(help="A model or an artifact; or none, and --values.", show_default=False),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            help="Numbers that share one scale: --values=-1.5,0,0.007,2.", show_default=False
        ),
    ] = None,
    tensor: Annotated[
        str | None,
        typer.Option(
            help="Matrix of SOURCE to look into: model.layers.0.self_attn.q_proj.",
            show_default=False,
        ),
    ] = None,
    row: Annotated[
        int | None, typer.Option(help="Its output.", show_default="where most is lost")
    ] = None,
    column: Annotated[
        int | None, typer.Option(help="Its input.", show_default="where most is lost")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How SOURCE is rounded: a preset or YAML file.",
            show_default="w4",
            autocompletion=recipe_names,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help=f"Bits of a code, {limits.BITS.span}.",
            show_default="8, or the recipe's",
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
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric/--symmetric", help="With a zero point, or without.")
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option(help="Scale of --values, used as it is.", show_default="the values choose"),
    ] = None,
    zero_point: Annotated[
        int | None,
        typer.Option(help="Its signed zero point.", show_default="from the scale"),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="The original of an artifact.", show_default=False)
    ] = None,
    effect: Annotated[
        bool,
        typer.Option(
            "--effect/--no-effect", help="Run SOURCE to see what the weight does to a logit."
        ),
    ] = True,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    out: PageFile = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Show how a number, or a weight of a model, becomes a code and comes back."""
    import tersor
    from tersor.cli.printing import explained

    of_model: dict[str, Any] = {
        "tensor": tensor,
        "row": row,
        "column": column,
        "recipe": recipe,
        "group_size": group_size,
        "base": base,
        "allow_pickle": allow_pickle or None,
        "merge_adapter": merge_adapter or None,
    }
    page: dict[str, Any] = {"out": out, "force": force}
    of_values: dict[str, Any] = {"scale": scale, "zero_point": zero_point}
    if values is not None:
        _refuse(of_model | {"source": source, "effect": None if effect else False}, "values")
        eight = 8 if bits is None else bits
        found = tersor.explain(values, eight, asymmetric=asymmetric, **of_values, **page)
        explained.values(found, as_json)
        return
    if source is None:
        raise OptionError("values", "must be numbers, as in --values=-1.5,0,2; or name a model")
    if tensor is None and not source.exists() and _NUMBERS.fullmatch(str(source)):
        raise OptionError("values", f"is where numbers go: --values={source}")
    if tensor is None:
        raise OptionError(
            "tensor", "must name a matrix of {}, as model.layers.0.mlp.up_proj", "source"
        )
    _refuse(of_values, "source")
    given = {name: value for name, value in of_model.items() if value is not None}
    with bars() as watch:
        progress = watch("run the model")
        way = tersor.explain_weight(
            source,
            bits=bits,
            asymmetric=asymmetric,
            effect=effect,
            progress=progress,
            **given,
            **page,
        )
    explained.weight(way, as_json)


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(help="A model, or an artifact.", show_default=False)],
    other: Annotated[
        Path | None, typer.Argument(help="A second artifact beside it.", show_default=False)
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="The original of the artifact or artifacts.", show_default=False),
    ] = None,
    asymmetric: Annotated[
        bool,
        typer.Option("--asymmetric/--symmetric", help="Grids with zero points, or without."),
    ] = False,
    activations: Annotated[
        bool,
        typer.Option(
            "--activations/--no-activations", help="Also run text to see the inputs of linears."
        ),
    ] = True,
    allow_pickle: AllowPickle = False,
    merge_adapter: MergeAdapter = False,
    out: PageFile = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Look at every linear: tails, outliers, what 8, 4, 3 and 2 bits lose; or at codes."""
    import tersor
    from tersor.cli.printing import inspected

    with bars() as watch:
        found = tersor.inspect(
            source,
            other,
            base=base,
            asymmetric=asymmetric,
            activations=activations,
            allow_pickle=allow_pickle,
            merge_adapter=merge_adapter,
            out=out,
            force=force,
            watch=watch,
        )
    if isinstance(found, tersor.ModelInspection):
        inspected.model(found, as_json)
    elif isinstance(found, tersor.ArtifactInspection):
        inspected.artifact(found, as_json)
    else:
        inspected.pair(found, as_json)


def _refuse(others: Mapping[str, object], beside: str) -> None:
    """Refuse what has no effect beside an option."""
    for name, value in others.items():
        if value is not None:
            raise OptionError(name, "has no effect beside {}", beside)
