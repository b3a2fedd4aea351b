"""The known name that a wrong one was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing with nothing similar."""
    close = get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """The same, or with nothing similar ``; known: a, b, c``."""
    known = list(known)
    if hint := nearest(wrong, known):
        return hint
    shown = ", ".join(known[:24]) + (", …" if len(known) > 24 else "")
    return f"; known: {shown}" if known else ""
