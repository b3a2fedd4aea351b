"""The results as a page for people."""

from typing import Any

from cases import CASES, ORIGINAL

from tersor.machine.processor import processor
from tersor.report import to_markdown

_WITHIN = 0.5


def page(results: dict[str, Any]) -> str:
    """Markdown, from what ``run.py`` keeps."""
    rows = [
        row
        for case in results["cases"].values()
        for row in _rows(case, results["cases"]["original"]["engines"])
    ]
    versions = "; ".join(results["versions"].values())
    return _HEAD.format(
        processor=processor(),
        versions=versions,
        table=to_markdown(rows).strip(),
        missing=_missing(results["cases"]),
    )


def _missing(cases: dict[str, Any]) -> str:
    """What was not asked yet."""
    found = []
    for case in (ORIGINAL, *CASES):
        row = cases.get(f"{case.format} {case.name}".strip(), {"engines": {}})
        left = [one for one in case.engines if one not in row["engines"] and "error" not in row]
        if left:
            found.append(f"{case.format} {case.name}".strip() + f": {'; '.join(left)}")
    return "" if not found else "\nNot run yet:\n\n" + "".join(f"- {one}\n" for one in found)


_HEAD = """# Read by the engines that own the formats

`make interop` installs the engines, each in an environment of its own, quantizes SmolLM2-135M for
each format and asks them. Perplexity: the second half of 8 windows of 512 tokens of the evaluation
text that comes with tersor. *meant*: what the codes and scales stand for, in float32, activations
rounded as the scheme says. *change*: of the engine's perplexity from that; where it is more than
0.5 %, *why* has what the engine's own arithmetic does to the original, which has no codes.
*greedy*: how many of 4 prompts went on with the same 32 tokens, and else the largest gap between
the logits, as meant, of the two tokens where they part. {processor}; {versions}.

{table}
{missing}"""


def _rows(case: dict[str, Any], original: dict[str, Any]) -> list[dict[str, Any]]:
    named = {**_EMPTY, "format": case["format"] or "original", "scheme": case["scheme"]}
    if "error" in case:
        return [{**named, "why": case["error"]}]
    found = case["engines"].items()
    return [{**named, **_row(engine, answer, case, original)} for engine, answer in found]


_EMPTY = dict.fromkeys(
    ("format", "scheme", "engine", "loads", "meant", "engine's", "change", "greedy", "why"), ""
)


def _row(
    engine: str, found: dict[str, Any], case: dict[str, Any], original: dict[str, Any]
) -> dict[str, Any]:
    meant = f"{case['perplexity']:.2f}"
    if "error" in found:
        error = found["error"].replace("|", "\\|")
        return {"engine": engine, "loads": "no", "meant": meant, "why": error}
    parted = found["differing"]
    greedy = "4 of 4"
    if parted:
        greedy = f"{4 - len(parted)} of 4; gap {max(one['gap'] for one in parted):.3f}"
    return {
        "engine": engine,
        "loads": "yes",
        "meant": meant,
        "engine's": f"{found['perplexity']:.2f}",
        "change": f"{found['change']:+.2f} %",
        "greedy": greedy,
        "why": _why(engine, found, original),
    }


def _why(engine: str, found: dict[str, Any], original: dict[str, Any]) -> str:
    own = original.get(engine, {}).get("change")
    if abs(found["change"]) <= _WITHIN or own is None or own == found["change"]:
        return ""
    return f"its arithmetic: {own:+.2f} % on the original"
