"""A page as one HTML file."""

import re
from functools import cache
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.report.html import palette
from tersor.report.html.drawing import MARK
from tersor.report.html.parts import Formula, Page, Paragraph, Picture, Table
from tersor.report.tables import cell

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_KINDS = {Paragraph: "paragraph", Table: "table", Picture: "picture", Formula: "formula"}
_WIDTH = re.compile(r'viewBox="\S+ \S+ (\S+)')
_SMALLEST, _LARGEST = 0.92, 1.67  # pixels for each unit of a picture, whose letters are 9 units
_EXACT = 7  # significant digits of a value that readers point at


def render(page: Page) -> str:
    """HTML with its styles, script and pictures inside: it makes no request of any kind.

    Every text is escaped. The same page gives the same HTML.
    """
    return _template().render(page=page, light=palette.css("light"), dark=palette.css("dark"))


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": lambda part: _KINDS[type(part)],
        "code": _code,
        "svg": _svg,
        "cell": cell,
        "exact": _exact,
        "numeric": _numeric,
    }
    environment.globals["raw"] = _raw
    return environment.get_template("page.html")


def _raw(name: str) -> "Markup":
    """A file of the templates that is part of every page as it is."""
    from markupsafe import Markup

    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _code(text: str) -> "Markup":
    """``text`` escaped, with ``<code>`` for what stands between backticks."""
    from markupsafe import Markup, escape

    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a backtick without another is one
        pieces[-2:] = ["`".join(pieces[-2:])]
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if index % 2 else escape(piece)
        for index, piece in enumerate(pieces)
    )


def _svg(picture: Picture, number: int) -> "Markup":
    """The SVG with ids of its own on the page, and what it shows in words."""
    from markupsafe import Markup, escape

    named = f'<svg role="img" aria-label="{escape(picture.alt)}" style="{_bounds(picture.svg)}"'
    return Markup(picture.svg.replace(MARK, f"p{number}-").replace("<svg", named, 1))


def _bounds(svg: str) -> str:
    """Between letters that can just be read, where a narrow window scrolls, and large ones."""
    found = _WIDTH.search(svg)
    width = float(found[1]) if found else 0.0
    return f"min-width: {_SMALLEST * width:.0f}px; max-width: {_LARGEST * width:.0f}px"


def _exact(value: Any) -> str:
    """More digits than are shown, or nothing where what is shown is all there is."""
    if not isinstance(value, float):
        return ""
    if isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    exact = f"{value:.{_EXACT}g}"
    return "" if exact == cell(value) else exact


def _numeric(table: Table) -> list[bool]:
    """For every column whether it holds numbers and nothing else."""
    columns = [[row[index] for row in table.rows] for index in range(len(table.columns))]
    return [
        any(isinstance(value, int | float) for value in column)
        and not any(isinstance(value, str) for value in column)
        for column in columns
    ]
