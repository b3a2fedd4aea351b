"""Progress bars on a terminal, and nothing of the kind in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Report = Callable[[int, int], None]


@contextmanager
def bars() -> Iterator[Callable[[str], Report | None]]:
    """A function that opens a bar with an ETA for a piece of work and returns its callback.

    Bars are drawn on standard error; where that is no terminal the callback is ``None``.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Standard output is not redirected: results that are printed meanwhile would go to the console.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:

        def watch(description: str) -> Report:
            task: TaskID | None = None

            def report(done: int, total: int) -> None:
                nonlocal task
                # Work that is never started, or over, is not worth a line.
                if task is None:
                    task = progress.add_task(description, total=total)
                progress.update(task, completed=done, total=total, visible=done < total)

            return report

        yield watch
