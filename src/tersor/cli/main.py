"""Entry point: parses, runs one command, and turns errors into one line and an exit status.

Exit status: 0 done; 1 tersor could not do it; 2 the command line makes no sense; 130 interrupted.
"""

import os
import sys
from typing import NoReturn

from tersor.errors import TersorError


def main() -> NoReturn:
    """Run the command line in ``sys.argv``; never returns."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Models are local: nothing may reach for a hub because a file is missing.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    sys.exit(run([argument for argument in arguments if argument != "--debug"], debug=debug))


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command line; returns the exit status. ``debug`` lets exceptions through."""
    from tersor.cli.commands import app

    try:
        app(args=arguments, prog_name="tersor", standalone_mode=False)
    except Exception as error:
        return _failed(error, debug)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was left behind", file=sys.stderr)
        return 130
    return 0


def _failed(error: Exception, debug: bool) -> int:
    import click

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.Abort):
        return 130
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if debug:
        raise error
    if isinstance(error, TersorError):
        print(f"error: {error}", file=sys.stderr)
    elif isinstance(error, MemoryError):
        print("error: not enough memory; close other programs or use a smaller --context")
    else:
        kind = type(error).__name__
        print(
            f"error: {kind}: {' '.join(str(error).split())}\n"
            "this is a bug in tersor: please report it with the output of the same command "
            "with --debug",
            file=sys.stderr,
        )
    return 1
