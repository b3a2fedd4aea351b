"""The command that shows and clears what is kept between runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tersor.cli.app import app
from tersor.cli.options import Json

if TYPE_CHECKING:
    from tersor.runtime.packed.store import Kept, Store

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
    from tersor.cli.layout import say
    from tersor.cli.show import print_json
    from tersor.report import size
    from tersor.runtime.packed.store import OFF, store

    found = store()
    kept = [] if found is None else found.kept()
    total = sum(one.size for one in kept)
    if as_json:
        print_json(_document(found) | {"bytes": total, "kept": [_entry(one) for one in kept]})
        return
    limit = 0 if found is None else found.limit()
    for one in kept:
        say(f"{size(one.size):>8}  {_when(one)}  {_state(one):<4}  {_whose(one)}")
    if found is None:
        print(f"nothing is kept: TERSOR_CACHE={OFF}")
    else:
        say(f"{size(total)} of at most {size(limit)} in {found.directory}", 2)


@cache.command()
def clear(
    artifact: Annotated[
        Path | None,
        typer.Argument(help="Of this directory only.", show_default="all"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove them, of all artifacts or of one; they are made again when they are needed."""
    from tersor.cli.show import print_json
    from tersor.errors import OutputError, SourceError
    from tersor.report import size
    from tersor.runtime.packed.store import remove, store

    found = store()
    kept = [] if found is None else found.kept()
    if artifact is not None:
        kept = [one for one in kept if one.artifact == artifact.resolve()]
        if not kept:
            raise SourceError(f"{artifact}: no packed weights of it are kept; see: tersor cache")
    remove(kept)
    left = [one for one in kept if one.path.exists()]
    if left:
        raise OutputError(f"{left[0].path}: cannot be removed; check its permissions")
    total = sum(one.size for one in kept)
    if as_json:
        print_json(_document(found) | {"bytes": total, "removed": [_entry(one) for one in kept]})
        return
    files = "1 file" if len(kept) == 1 else f"{len(kept)} files"
    print(f"removed {files}, {size(total)}")


def _document(found: "Store | None") -> dict[str, Any]:
    if found is None:
        return {"directory": None, "limit": 0}
    return {"directory": str(found.directory), "limit": found.limit()}


def _entry(one: "Kept") -> dict[str, Any]:
    return {
        "artifact": None if one.artifact is None else str(one.artifact),
        "gone": one.gone,
        "bytes": one.size,
        "last_used": _when(one),
        "file": str(one.path),
    }


def _when(one: "Kept") -> str:
    from datetime import datetime

    return datetime.fromtimestamp(one.used).astimezone().isoformat(" ", "minutes")[:16]


def _state(one: "Kept") -> str:
    return "gone" if one.gone else ""


def _whose(one: "Kept") -> str:
    return "(made by another version of tersor)" if one.artifact is None else str(one.artifact)
