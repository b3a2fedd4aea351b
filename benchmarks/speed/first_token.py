"""From the command to the first token: how long, and what was imported on the way.

    python benchmarks/speed/first_token.py ARTIFACT [ARTIFACT …] [--runs 9] [-o FILE.json]

Every run is a process of its own, `tersor generate ARTIFACT --prompt … --max-new-tokens 1`, timed
from its start to the first character that it prints, which is the end of the line for a token
without text (random models have more tokens than their tokenizer knows). Two runs before are not
counted: the first packs weights and keeps the tokenizer, the second reads what it wrote. Files are
in the memory of the system then. Artifacts take turns; medians, least and most, in seconds, and the
median of what processors worked for the whole process, which depends less on what else is going on.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

PROMPT = "The capital of France is"
# What else is there is Python's or tersor's own.
LIST = (
    "import sys; from tersor.cli.main import run; run(sys.argv[1:]); "
    "names = {name.partition('.')[0] for name in sys.modules}; "
    "names -= sys.stdlib_module_names | {'tersor'}; "
    "print(*sorted(name for name in names if not name.startswith('_')), file=sys.stderr)"
)


def options(artifact: Path, prompt: str) -> list[str]:
    return ["generate", str(artifact), "--prompt", prompt, "--max-new-tokens", "1"]


def seconds(artifact: Path, prompt: str) -> tuple[float, float]:
    """From the start of a process to the first byte that it prints, and of work in all."""
    command = [sys.executable, "-m", "tersor", *options(artifact, prompt)]
    start = time.perf_counter()
    made = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert made.stdout is not None
    made.stdout.read(1)
    taken = time.perf_counter() - start
    made.stdout.read()
    _, status, used = os.wait4(made.pid, 0)
    made.returncode = os.waitstatus_to_exitcode(status)
    if made.returncode:
        raise SystemExit(f"{artifact}: it does not run")
    return taken, used.ru_utime + used.ru_stime


def imported(artifact: Path, prompt: str) -> list[str]:
    """Packages of others that a run imports."""
    command = [sys.executable, "-c", LIST, *options(artifact, prompt)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    return made.stderr.strip().splitlines()[-1].split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    runs_of: dict[Path, list[tuple[float, float]]] = {
        artifact: [] for artifact in arguments.artifacts
    }
    for artifact in runs_of:
        for _ in range(2):
            seconds(artifact, arguments.prompt)
    for _ in range(arguments.runs):
        for artifact, runs in runs_of.items():
            runs.append(seconds(artifact, arguments.prompt))
    table: list[dict[str, Any]] = [
        {
            "artifact": artifact.name,
            "median": round(median(taken for taken, _ in runs), 3),
            "least": round(min(taken for taken, _ in runs), 3),
            "most": round(max(taken for taken, _ in runs), 3),
            "work": round(median(work for _, work in runs), 3),
            "runs": len(runs),
            "imported": imported(artifact, arguments.prompt),
        }
        for artifact, runs in runs_of.items()
    ]
    text = json.dumps(table, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
