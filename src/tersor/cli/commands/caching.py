"""The command that shows and clears what is kept between runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli.app import app
from tersor.cli.options import Json

if TYPE_CHECKING:
    from tersor.runtime.packed.contents import CachedFile

cache = typer.Typer(
    help="Show or clear the packed weights that are kept between runs.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cache, name="cache")


@cache.callback()
def _default(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        show_kept(as_json)
    elif as_json:
        raise typer.BadParameter(f"--json belongs behind {context.invoked_subcommand}")


@cache.command("list")
def show_kept(as_json: Json = False) -> None:
    """List them: size, last use, whether the artifact is gone, and its directory."""
    import tersor
    from tersor.cli.printing.layout import say
    from tersor.cli.printing.show import print_json
    from tersor.report import size

    found = tersor.cache_contents()
    if as_json:
        print_json(found.to_dict())
        return
    for file in found.files:
        used = file.to_dict()["last_used"]
        say(f"{size(file.bytes):>8}  {used}  {_state(file):<4}  {_whose(file)}")
    if found.directory is None:
        print("nothing is kept: TERSOR_CACHE=off")
    else:
        say(f"{size(found.bytes)} of at most {size(found.limit)} in {found.directory}", 2)


@cache.command()
def clear(
    artifact: Annotated[
        Path | None,
        typer.Argument(help="Of this directory only.", show_default="all"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove them, of all artifacts or of one; they are made again when they are needed."""
    import tersor
    from tersor.cli.printing.show import print_json
    from tersor.report import size

    found = tersor.clear_cache(artifact)
    if as_json:
        print_json(found.to_dict())
        return
    files = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
    print(f"removed {files}, {size(found.bytes)}")


def _state(file: "CachedFile") -> str:
    return "gone" if file.gone else ""


def _whose(file: "CachedFile") -> str:
    return "(made by another version of tersor)" if file.artifact is None else str(file.artifact)
