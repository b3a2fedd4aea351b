"""Pictures: matplotlib → SVG that lies within a page and follows its theme."""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from tersor.report.html.palette import FAINT, INK, RULE, SERIES, VARIABLES
from tersor.report.html.parts import Picture
from tersor.report.text import figure as shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

MARK = "\ue000"
"""Stands before every id of an SVG; what makes a page of it puts the picture's number there."""

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_HINT = "hint "
_PLACES = frozenset({"d", "x", "y"})
_FAMILY = re.compile(r"; font-family: [^;]*")
_FONT = re.compile(r"font: ((?:[a-z]+ |[0-9]+ )*[0-9.]+px) [^;]*")
_FINE = re.compile(r"(\.\d\d)\d+")
_STAND_IN = re.compile("|".join(VARIABLES))


def picture(
    draw: Callable[["Figure"], None],
    *,
    alt: str,
    caption: str,
    width: float = 6.4,
    height: float = 3.2,
) -> Picture:
    """What ``draw`` puts on an empty figure of ``width`` × ``height`` inches.

    Lines, text and the cycle of colours follow the page's theme; other colours of the theme are
    :data:`SERIES`, :data:`INK` and their neighbours. Text is text, in the page's font, and never
    read as mathematics. The same drawing gives the same SVG.
    """
    import matplotlib
    import matplotlib.style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.style.context(["default", _rules()]):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        _plain_logarithms(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Picture(_for_pages(buffer.getvalue()), alt, caption)


def hint(artist: "Artist", text: str) -> None:
    """Show ``text`` where a reader points at ``artist``."""
    artist.set_gid(_HINT + text)


def _rules() -> dict[str, Any]:
    from matplotlib.rcsetup import cycler

    return {
        "axes.axisbelow": True,
        "axes.edgecolor": FAINT,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.titlecolor": INK,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "font.size": 9,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "patch.edgecolor": FAINT,
        "savefig.facecolor": "none",
        "savefig.edgecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "tersor",
        "text.color": INK,
        "text.parse_math": False,
        "xtick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
    }


def _plain_logarithms(figure: "Figure") -> None:
    """``0.01`` in place of powers that only mathematics can set."""
    from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() != "log":
                continue
            low, high = sorted(axis.get_view_interval())
            plain = FuncFormatter(lambda value, _: shown(value))
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter(plain)
            if isinstance(axis.get_minor_formatter(), LogFormatter):
                # Within a decade or so, minor ticks are the only ones that say where one is.
                axis.set_minor_formatter(plain if high < 12 * low else NullFormatter())


def _for_pages(svg: str) -> str:
    """Colours of the theme, the page's font, ids that can be made unique, and nothing else."""
    root = ElementTree.fromstring(svg)
    for name in ("width", "height", "version"):
        del root.attrib[name]
    for element in list(root.iter()):
        element.tag = element.tag.removeprefix(_SVG)
        for child in list(element):
            # A style in a picture would hold for the whole page; it has its own for pictures.
            if child.tag in {f"{_SVG}metadata", f"{_SVG}style"}:
                element.remove(child)
        element.tail = None if element.tag != "tspan" else element.tail
        if len(element) and element.tag != "text":
            element.text = None
        _rewrite(element)
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element) -> None:
    for name in list(element.attrib):
        value = element.attrib.pop(name).replace(MARK, "")
        bare = name.removeprefix(_XLINK)
        if bare == "id" and value.startswith(_HINT):
            title = ElementTree.Element("title")
            title.text = value.removeprefix(_HINT)
            element.insert(0, title)
            bare, value = "class", "hint"
        elif bare == "id":
            value = MARK + value
        elif bare == "href" and value.startswith("#"):
            value = f"#{MARK}{value[1:]}"
        elif bare in _PLACES:
            value = _FINE.sub(r"\1", " ".join(value.split()))
        elif bare in {"style", "clip-path"}:
            value = _FAMILY.sub("", _FONT.sub(r"font: \1 var(--font)", value))
            value = _STAND_IN.sub(lambda found: VARIABLES[found[0]], value)
            value = value.replace("url(#", f"url(#{MARK}")
        element.set(bare, value)
    if element.text:
        element.text = element.text.replace(MARK, "")
