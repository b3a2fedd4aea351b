"""Other tools' formats: import, export, check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli.app import app
from tersor.cli.options import Directory, Force, Json, Out
from tersor.cli.printing.progress import bars

if TYPE_CHECKING:
    from tersor.pipeline.exchange.convert import ConvertResult


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            help="Directory of GPTQ, AWQ, MLX, compressed-tensors; or GGUF file.",
            show_default=False,
        ),
    ],
    out: Out,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn what others quantized into an artifact with the same codes."""
    import tersor

    with bars() as watch:
        progress = watch("import")
        made = tersor.import_checkpoint(source, out, force=force, progress=progress)
    _say(made, as_json)


@app.command()
def export(
    directory: Directory,
    out: Out,
    format: Annotated[  # noqa: A002 - as it is called in the field
        str,
        typer.Option(
            "--format",
            help="gguf, gptq, gptq-v2, awq, mlx, compressed-tensors or tersor.",
            show_default=False,
        ),
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a quantized model in another format with the same codes.

    GGUF files may be made of models that are not quantized, too.
    """
    import tersor

    with bars() as watch:
        progress = watch("export")
        made = tersor.export(directory, out, format, force=force, progress=progress)
    _say(made, as_json)


@app.command()
def check(directory: Directory, as_json: Json = False) -> None:
    """Read all of a model, and say in one line each what is wrong."""
    import tersor
    from tersor.cli.printing.show import print_json

    found = tersor.check(directory)
    if as_json:
        print_json(found.to_dict())
    elif found.sound:
        kind = found.format or "not quantized"
        print(f"sound: {found.tensors} tensors, {kind}")
    else:
        for problem in found.problems:
            print(problem)
    if not found.sound:
        raise typer.Exit(1)


@app.command()
def upload(
    directory: Directory,
    name: Annotated[str, typer.Argument(help="org/name on the hub.", show_default=False)],
    private: Annotated[bool, typer.Option("--private", help="For its owner alone.")] = False,
    as_json: Json = False,
) -> None:
    """Send a quantized model with its card to the Hugging Face hub."""
    import tersor
    from tersor.cli.printing.show import print_json
    from tersor.report import size

    made = tersor.upload(directory, name, private=private)
    if as_json:
        print_json(made.to_dict())
    else:
        print(f"{made.files} files, {size(made.bytes)}, in {made.url}")


def _say(made: "ConvertResult", as_json: bool) -> None:
    from tersor.cli.printing.show import print_json
    from tersor.report import size

    if as_json:
        print_json(made.to_dict())
        return
    what = f"{made.modules} linears with the same codes" if made.modules else "not quantized"
    print(f"{what}, {size(made.bytes)} of {made.format}, in {made.directory}")
    for note in made.notes:
        print(f"note: {note}")
