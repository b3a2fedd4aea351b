"""Pages for people: values → one HTML file that asks nothing of any network."""

from tersor.report.html.drawing import hint, picture
from tersor.report.html.palette import FAINT, INK, SERIES, SURFACE
from tersor.report.html.parts import Formula, Page, Paragraph, Part, Picture, Section, Table
from tersor.report.html.rendering import render

__all__ = [
    "FAINT",
    "INK",
    "SERIES",
    "SURFACE",
    "Formula",
    "Page",
    "Paragraph",
    "Part",
    "Picture",
    "Section",
    "Table",
    "hint",
    "picture",
    "render",
]
