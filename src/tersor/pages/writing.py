"""A page in a file."""

from pathlib import Path

from tersor.checkpoints.files import write_text
from tersor.errors import OutputError
from tersor.report.html import Page, render


def page_place(path: Path) -> Path:
    """``path`` itself, if a page can be written there.

    Raises :class:`OutputError` where it is a directory, no HTML file, or in no directory.
    """
    if path.is_dir() or path.suffix not in (".html", ".htm"):
        raise OutputError(f"{path}: a report is a file; give a name that ends in .html")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the directory {path.parent} does not exist; make it first")
    return path


def write_page(path: Path, page: Page) -> None:
    """Write ``page`` as one HTML file, whole or not at all.

    Raises:
        OutputError: disk full, no permission.
    """
    write_text(path, render(page))
