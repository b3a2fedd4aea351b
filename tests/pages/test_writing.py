"""A page in a file: whole or not at all."""

from pathlib import Path

import pytest

from tersor.errors import OutputError
from tersor.pages import write_page
from tersor.report.html import Page

PAGE = Page("A study", "", (), (), "by tersor")


def test_one_file(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", PAGE)
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write_page(tmp_path / "nowhere" / "report.html", PAGE)
