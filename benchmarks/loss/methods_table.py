"""The README's table of methods from the rows of `benchmarks/loss/methods.py`.

    python benchmarks/loss/methods_table.py [benchmarks/results/loss/methods.json]

Most rows of other schemes than W4 in groups were made while the machine did other things too: their
seconds are shown as an upper bound. MB are of all tensors; † marks rotated models whose head and
embedding, two tensors then, were left in bfloat16.
"""

import json
import sys
from pathlib import Path

SCHEMES = {
    "w8a8": "W8A8 per channel and token",
    "w4": "W4 g64",
    "w3": "W3 g64",
    "w2": "W2 g64",
    "w4c": "W4 per channel",
    "w3c": "W3 per channel",
    "w2c": "W2 per channel",
}
NAMES = {
    "w4": "nearest",
    "w8a8": "nearest",
    "llmcompressor_gptq": "llm-compressor 0.14, GPTQ",
    "autoround_light": "AutoRound, light",
}
# Made with nothing else running, beside all of W4 in groups.
ALONE = ("w3:qat", "w4c:optq-light", "w2c:best", "w4c:qat", "w2c:qat")


def line(scheme: str, method: str, row: dict[str, float], first: bool) -> str:
    name = NAMES.get(method, f"`{method}`")
    losses = [
        f"{row[f'{text} ppl']:.2f} | {row[f'{text} KL']:.4f}"
        for text in ("wiki.test", "shakespeare")
    ]
    seconds = f"{row['seconds']:.{0 if row['seconds'] >= 10 else 1}f}"
    if scheme != "w4" and f"{scheme}:{method}" not in ALONE:
        seconds = f"≤ {seconds}"
    memory = f"{row['peak_gb']:.2f} GB"
    # A peer leaves a plain model, whose size says nothing.
    size = f"{row['MB']:.0f}" if "MB" in row else "–"
    name += "†" if row.get("untied_bits") == 16 else ""
    label = SCHEMES[scheme] if first else ""
    return f"| {label} | {name} | {size} | {' | '.join(losses)} | {seconds} | {memory} |"


def main() -> None:
    default = Path(__file__).parents[1] / "results/loss/methods.json"
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    rows = json.loads(file.read_text())
    for scheme in SCHEMES:
        mine = [
            (row.split(":")[1], found)
            for row, found in rows.items()
            if row.startswith(f"{scheme}:")
        ]
        mine.sort(key=lambda pair: -pair[1]["wiki.test KL"])
        for index, (method, found) in enumerate(mine):
            print(line(scheme, method, found, index == 0))


if __name__ == "__main__":
    main()
