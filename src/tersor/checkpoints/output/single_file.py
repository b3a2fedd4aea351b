"""A result that is one file, looked at before the work that it is the result of."""

from pathlib import Path

from tersor.errors import OutputError


def check_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be made, or that exists without ``force``.

    Raises:
        OutputError: it is a directory, exists, or its directory does not.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; name a file in it")
    if path.exists() and not force:
        raise OutputError(f"{path}: exists already; use --force to replace it")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: there is no directory {path.parent}; make it first")
