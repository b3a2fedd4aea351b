"""Entry point: parses, runs one command, and turns errors into one line and an exit status.

Exit status: 0 done; 1 tersor could not do it; 2 the command line makes no sense; 130 interrupted
(Ctrl-C); 143 terminated (SIGTERM).
"""

import os
import sys
import warnings
from typing import NoReturn, TextIO

from tersor.cli.ending import TERMINATED
from tersor.cli.flags import flag
from tersor.errors import OptionError, TersorError, readable
from tersor.machine.allocator import one_arena
from tersor.machine.memory import is_shortage

_INTERRUPTED = 130
_WRITING = ("restore", "quantize", "import", "export")
_BUDGETS = ("--target-", "--max-kl")


def main() -> NoReturn:
    """Run the command line in ``sys.argv``; never returns."""
    one_arena()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    # Nothing may reach for a hub because a file is missing. Whoever asks for a model by its name
    # there is not hindered by the second name of this switch (``checkpoints.hub``).
    if "TRANSFORMERS_OFFLINE" in os.environ:
        os.environ.setdefault("HF_HUB_OFFLINE", os.environ["TRANSFORMERS_OFFLINE"])
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.showwarning = _show_warning
    status = run([argument for argument in arguments if argument != "--debug"], debug=debug)
    if status == TERMINATED:
        sys.stdout.flush()
        os._exit(status)  # taking everything down in order would take seconds
    sys.exit(status)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command line; returns the exit status. ``debug`` lets exceptions through."""
    from tersor.cli.app import app
    from tersor.cli.commands import register

    register()

    try:
        # Without arguments Typer prints its help. Otherwise errors are ours to print.
        left = app(args=arguments, prog_name="tersor", standalone_mode=not arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if debug:
            raise
        print(_one_line(error), file=sys.stderr)
        return 2 if isinstance(error, OptionError) else getattr(error, "exit_code", 1)
    if left == _INTERRUPTED:
        print(f"\ninterrupted{_what_is_left(arguments)}", file=sys.stderr)
    return int(left or 0)


def _what_is_left(arguments: list[str]) -> str:
    """Of commands with one output; those with several say themselves what is kept."""
    command = arguments[0] if arguments else ""
    if command == "quantize" and not any(one.startswith(_BUDGETS) for one in arguments):
        return "; go on with --resume"
    return "; no output was written" if command in _WRITING else ""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line, like errors, instead of a place in the source."""
    del category, filename, lineno, file, line
    print(f"warning: {readable(str(message))}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    if isinstance(error, OptionError):
        return f"error: {readable(error.said(flag))}"
    if isinstance(error, TersorError):
        return f"error: {error}"
    if is_shortage(error):
        return "error: not enough memory; close other programs, or use a smaller --context"
    if hasattr(error, "format_message"):  # what Typer finds wrong with a command line
        return "error: " + " ".join(error.format_message().split())
    said = readable(" ".join(str(error).split()))
    return (
        f"error: {type(error).__name__}: {said} (a bug in tersor: please report it with the "
        "output of the same command with --debug)"
    )
