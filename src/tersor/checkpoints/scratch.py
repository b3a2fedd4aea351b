"""A directory for files that are needed for a moment."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tersor.errors import OutputError


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A temporary directory, removed with all that is in it at the end of the block.

    Raises:
        OutputError: none can be made: no space, no permission.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="tersor-")
    except OSError as error:
        raise OutputError(
            f"no temporary directory can be made ({error.strerror or error}); free some space, or "
            "set TMPDIR to a directory that can be written"
        ) from error
    with made as directory:
        yield Path(directory)
