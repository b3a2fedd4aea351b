"""``python -m kills``: many trials of every case, and a table of what came of them."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from kills.figures import row, table, with_table
from kills.trying import Server, trial, undisturbed

CASES = {
    "gptq": "`gptq`: blocks one after the other",
    "gptaq": "`gptaq`: the original beside them",
    "learned": "`gptaq`, then learned rounding",
    "trained": "`gptq`, then training",
    "static": "`w8a8-static`",
    "nearest": "`w4`: no text",
    "shards": "`awq-gptq`, in shards of 20 kB",
    "small": "scales that float16 cannot hold",
    "experts": "`gptq` of a Qwen3 MoE",
    "shared": "`gptq` of a Gemma 4",
    "apart": "`gptq` of a Gemma 3n, whose blocks share keys",
    "gguf": "`gguf-q4_0`, one file",
}


def main() -> int:
    """Exit status 1 if any run ended in other bytes, or not at all."""
    parser = argparse.ArgumentParser(prog="kills", description=__doc__)
    parser.add_argument("--each", type=int, default=9, help="trials of each case")
    parser.add_argument("--only", action="append", default=[], help="a case; may be repeated")
    parser.add_argument("--page", type=Path, help="page whose table is replaced")
    asked = parser.parse_args()
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="kills-") as place, Server(Path(place)) as server:
        for case in asked.only or CASES:
            counts: Counter[str] = Counter()
            started = time.monotonic()
            whole = undisturbed(server, Path(place), case)
            for seed in range(asked.each):
                try:
                    kills = trial(server, Path(place), case, seed, whole)["kills"]
                except AssertionError as error:
                    counts["wrong"] += 1
                    print(f"{case} {seed}: {error}", flush=True)
                    continue
                counts["same"] += 1
                for kill in kills:
                    counts[_kind(kill)] += kill["killed"]
            wrong += counts["wrong"]
            rows.append(row(CASES[case], asked.each, whole.calls, counts))
            print(f"{rows[-1]} {time.monotonic() - started:.0f} s", flush=True)
    print(table(rows))
    if asked.page is not None:
        page = asked.page.read_text(encoding="utf-8")
        asked.page.write_text(with_table(page, table(rows)), encoding="utf-8")
    return int(wrong > 0)


def _kind(kill: dict[str, object]) -> str:
    if "at" in kill:
        return "at a call"
    return "at a time" if "after" in kill else "sigterm"


sys.exit(main())
