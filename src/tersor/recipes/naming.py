"""What a recipe may be called: ``compare`` makes a directory of that name beside its tables."""

import unicodedata
from collections.abc import Iterable

from tersor.errors import RecipeError

ORIGINAL = "original"
TABLES = ("compare.csv", "compare.json", "compare.md", "compare.html", "study.json")

_LONGEST = 100
_SEPARATORS = frozenset("/\\:")
_WAY_OUT = "give it a plain `name:` such as mine-3bit"


def check_name(name: str) -> None:
    """Raise :class:`RecipeError` for a name that is no name of a file, or one of ``compare``'s."""
    if why := _why_not(name):
        raise RecipeError(f"a recipe cannot be called {_shown(name)}: {why}; {_WAY_OUT}")


def check_different(names: Iterable[str]) -> None:
    """Raise :class:`RecipeError` for two names that are one directory on some disk."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.get(_folded(name))
        if first is not None:
            both = repr(name) if first == name else f"{first!r} and {name!r}"
            raise RecipeError(
                f"two recipes are called {both}, and each would be written to a directory of that "
                "name; leave one out, or change `name:` in its file"
            )
        seen[_folded(name)] = name


def _why_not(name: str) -> str:
    """Why no directory may have the name; empty if one may."""
    if not name.strip() or not name.isprintable():
        return "it is empty, or holds characters that cannot be printed"
    if found := sorted(_SEPARATORS.intersection(name)):
        return f"it holds {found[0]!r}"
    if name[0] in ".-" or name[-1] == "." or name != name.strip():
        return "it begins with a dot or a dash, ends with a dot, or has blanks around it"
    if len(name.encode()) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    if _folded(name) in (ORIGINAL, *TABLES):
        return "that is what compare calls the model itself, or a table"
    return ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else name[:_LONGEST] + "…")
