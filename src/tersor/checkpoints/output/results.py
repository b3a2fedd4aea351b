"""A directory for several results of one run."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tersor.checkpoints.files import writing
from tersor.checkpoints.output.staging import Lock
from tersor.errors import OutputError


@contextmanager
def results_in(directory: Path) -> Iterator[None]:
    """Make ``directory`` and its parents, and keep other runs out of it meanwhile.

    What exists in it stays. Directories that were made and are empty in the end are removed.

    Raises :class:`OutputError`: it is a file, another run works in it, no permission.
    """
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory}: exists and is a file; choose another output directory")
    above = (directory, *directory.parents)
    made = list(itertools.takewhile(lambda path: not path.exists(), above))
    try:
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = Lock(directory.resolve(), directory)
        try:
            yield
        finally:
            lock.release()
    finally:
        for path in made:
            with suppress(OSError):  # not empty: something was kept
                path.rmdir()
