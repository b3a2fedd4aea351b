"""Colours of pages and pictures, for light and for dark; told apart by readers who see few colours.

A picture is drawn once, in stand-ins that no drawing would use by chance. In its SVG they become
variables of CSS, so that it follows the theme of its page.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """``stand_in`` is what matplotlib draws with; ``light`` and ``dark`` what readers see."""

    variable: str
    stand_in: str
    light: str
    dark: str


_COLOURS = (
    Colour("ink", "#010a01", "#1b1f24", "#e4e7eb"),
    Colour("faint", "#010a02", "#5b6470", "#9fa8b4"),
    Colour("rule", "#010a03", "#d9dde3", "#3a414b"),
    Colour("surface", "#010a04", "#ffffff", "#15181d"),
    Colour("panel", "#010a05", "#f3f5f8", "#1e2329"),
    Colour("link", "#010a06", "#0b57a4", "#7ab8ff"),
    # Dark enough, or light enough, to be read as text; neighbours differ in lightness too.
    Colour("series-1", "#010b01", "#0b62a4", "#6cb6ff"),
    Colour("series-2", "#010b02", "#c04a08", "#ff9b5e"),
    Colour("series-3", "#010b03", "#007a5a", "#3ecf9a"),
    Colour("series-4", "#010b04", "#8e4585", "#e39ccf"),
    Colour("series-5", "#010b05", "#8a6100", "#e5c04b"),
    Colour("series-6", "#010b06", "#5b6470", "#aab3bf"),
)

INK, FAINT, RULE, SURFACE = (colour.stand_in for colour in _COLOURS[:4])
"""Text and lines; less important ones; grids; what is behind everything."""
SERIES = tuple(colour.stand_in for colour in _COLOURS if colour.variable.startswith("series"))
"""For what is compared, in this order; further ones differ by line or marker."""

VARIABLES: Mapping[str, str] = {colour.stand_in: f"var(--{colour.variable})" for colour in _COLOURS}
"""CSS by stand-in."""


def css(theme: str) -> str:
    """Declarations of all variables for the theme ``light`` or ``dark``."""
    return " ".join(f"--{colour.variable}: {getattr(colour, theme)};" for colour in _COLOURS)
