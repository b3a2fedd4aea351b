"""A page in a file."""

from pathlib import Path

from tersor.checkpoints.files import write_text
from tersor.report.html import Page, render


def write_page(path: Path, page: Page) -> None:
    """Write ``page`` as one HTML file, whole or not at all.

    Raises:
        OutputError: disk full, no permission.
    """
    write_text(path, render(page))
