"""Where the engine's time goes: shares of prefill and of decode, by what the processor was in.

    python benchmarks/speed/where_time_goes.py DIR [-o FILE] [--prompt-tokens 512]
        [--new-tokens 1000]

Needs Linux's `perf` and native code with its symbols (`pip install --config-settings
install.strip=false .`). Prefill: prompts one after the other. Decode: new tokens after a prompt of
8, so that half of them are attended to on average. Only samples inside the engine count: what
Python does before is left out. Prints a table; FILE gets the same as JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

# The first that a symbol's name contains decides.
PARTS = {
    "barriers": ("wait_for_change", "Barrier", "sched_yield", "run_part", "atomic"),
    "attention": ("attend", "Attention", "softmax", "Queries"),
    "gates": ("gate",),
    "quantizing": ("quantize",),
    "norms, rotations, cache": ("norm", "rotate", "store", "length_of", "add"),
    "linears": ("tokens_times", "all_tokens", "multiply_b", "unpack", "linear", "Tile"),
}


def engine_runs(directory: Path, phase: str, prompt: int, new: int) -> None:
    """What is measured: prompts of different tokens, or one sequence that goes on."""
    import tersor

    engine = tersor.Engine(directory)
    size = engine.plan.vocabulary
    rounds = 20 if phase == "prefill" else 1
    tokens = prompt if phase == "prefill" else 8
    for number in range(rounds):
        ids = [(7919 * (i + number * tokens) + 11) % size for i in range(tokens)]
        for _ in engine.generate_batch_tokens([ids], 1 if phase == "prefill" else new):
            pass


def symbols(arguments: argparse.Namespace, phase: str) -> dict[str, int]:
    """Samples by symbol of the native module and of the system on its behalf."""
    with tempfile.TemporaryDirectory() as directory:
        data = str(Path(directory) / "perf.data")
        run = [sys.executable, __file__, str(arguments.directory), "--phase", phase]
        run += ["--prompt-tokens", str(arguments.prompt_tokens)]
        run += ["--new-tokens", str(arguments.new_tokens)]
        subprocess.run(
            ["perf", "record", "-F", "999", "-o", data, "--", *run], check=True, capture_output=True
        )
        report = ["perf", "report", "-i", data, "--stdio", "--sort", "dso,symbol"]
        printed = subprocess.run(
            [*report, "--show-nr-samples", "--field-separator", "|"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    found: dict[str, int] = {}
    for line in printed.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if line.startswith("#") or len(fields) < 4 or "_native" not in fields[2]:
            continue
        name = fields[3].split(maxsplit=1)[-1]
        found[name] = found.get(name, 0) + int(fields[1])
    return found


def shares(samples: dict[str, int]) -> dict[str, float]:
    """Percent by part; names that no part claims are under `other`."""
    totals: dict[str, int] = defaultdict(int)
    for name, count in samples.items():
        fitting = (part for part, words in PARTS.items() if any(w in name for w in words))
        totals[next(fitting, "other")] += count
    whole = sum(totals.values())
    if not whole:
        sys.exit("no samples in the native module: was it built with install.strip=false?")
    ranked = sorted(totals.items(), key=lambda item: -item[1])
    return {part: round(100 * count / whole, 1) for part, count in ranked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=1000)
    parser.add_argument("--phase", choices=["prefill", "decode"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        engine_runs(
            arguments.directory, arguments.phase, arguments.prompt_tokens, arguments.new_tokens
        )
        return
    found = {}
    for phase in ("prefill", "decode"):
        samples = symbols(arguments, phase)
        found[phase] = shares(samples)
        print(f"{phase}: " + ", ".join(f"{part} {s} %" for part, s in found[phase].items()))
        for name, count in sorted(samples.items(), key=lambda item: -item[1])[:12]:
            print(f"  {count:6d}  {name[:110]}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
