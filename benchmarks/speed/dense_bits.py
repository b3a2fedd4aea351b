"""Decoding with dense matrices as they are stored and at 8 bits, in turns.

    python benchmarks/speed/dense_bits.py ARTIFACT [--rounds 5] [-o FILE.json]

Every round runs `tersor bench` once for each of --dense-bits 16 and 8, in a process of its own;
medians of the rounds, their quotient, and what is read for a token.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any


def bench(artifact: Path, bits: int, new_tokens: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tersor", "bench", str(artifact), "--json"]
    command += ["--dense-bits", str(bits), "--prompt-tokens", "64", "--repetitions", "2"]
    command += ["--new-tokens", str(new_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    runs: dict[int, list[dict[str, Any]]] = {16: [], 8: []}
    for _ in range(arguments.rounds):
        for bits, found in runs.items():
            found.append(bench(arguments.artifact, bits, arguments.new_tokens))
    rates = {bits: [median(run["decode"]) for run in found] for bits, found in runs.items()}
    table = {
        "artifact": arguments.artifact.name,
        "decode": {bits: [round(rate, 1) for rate in found] for bits, found in rates.items()},
        "median": {bits: round(median(found), 1) for bits, found in rates.items()},
        "times": round(median(rates[8]) / median(rates[16]), 2),
        "bytes_per_token": {bits: found[0]["bytes_per_token"] for bits, found in runs.items()},
        "notes": runs[8][0]["notes"],
    }
    text = json.dumps(table, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
