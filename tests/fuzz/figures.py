"""The table of what came of all inputs."""

from collections import Counter
from collections.abc import Mapping

from fuzz.judging import CRASH, FINE, HANG, KINDS, OTHER, TYPED

_BEGIN, _END = "<!-- figures of make fuzz -->", "<!-- end of figures -->"
_HEADS = {FINE: "fine", TYPED: "typed", OTHER: "other", CRASH: "crashes", HANG: "hangs"}


def table(counts: Mapping[str, Counter[str]]) -> str:
    """Markdown: a row for every target, and their sum."""
    heads = ["inputs", *_HEADS.values()]
    lines = ["| what is damaged | " + " | ".join(heads) + " |", "|---" + "|--:" * len(heads) + "|"]
    total: Counter[str] = Counter()
    for name, found in counts.items():
        lines.append(_row(name, found))
        total += found
    return "\n".join([*lines, _row("**all**", total)]) + "\n"


def with_table(page: str, made: str) -> str:
    """The page with ``made`` in the place of its table."""
    before, _, rest = page.partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"the page has no place for figures, between {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n{made}{_END}{after}"


def _row(name: str, found: Counter[str]) -> str:
    numbers = [found.total(), *(found[kind] for kind in KINDS)]
    return f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |"
