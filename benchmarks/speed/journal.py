"""What the journal costs a calibrated run: the same run without and with it, by turns.

    python benchmarks/speed/journal.py MODEL -o results.json

Wall time, the process's own time, and what the thread that quantizes spends in the journal, which
is the share that others on the machine do not disturb.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tersor.checkpoints.opening import open_source
from tersor.pipeline.journal import keeping
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import make_plan
from tersor.pipeline.quantize import quantize_to
from tersor.recipes import load_recipe

spent: list[float] = []


def timed(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, whose time is added to ``spent``."""

    def timing(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - started)

    return timing


def run(model: Path, recipe: str, out: Path, resume: bool | None) -> dict[str, float]:
    """Seconds of one run into ``out``, which is removed."""
    source = open_source(model)
    plan = make_plan(source, load_recipe(recipe))
    spent.clear()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    quantize_to(source, plan, out, resume=resume)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    shutil.rmtree(out)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "process": own, "journal": sum(spent)}


def main() -> None:
    """Print a line for each run, and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--recipe", default="gptq")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path)
    asked = parser.parse_args()
    for name in ("passed", "commit", "complete", "end"):
        setattr(Recorder, name, timed(getattr(Recorder, name)))
    keeping.identity_of = timed(keeping.identity_of)
    found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for _ in range(asked.times):
            for name, resume in (("with", False), ("without", None)):
                seconds = run(asked.model, asked.recipe, Path(folder) / "out", resume)
                found[name].append(seconds)
                print(name, {key: round(value, 2) for key, value in seconds.items()}, flush=True)
    least = {name: min(run["process"] for run in runs) for name, runs in found.items()}
    inside = [run["journal"] / run["wall"] for run in found["with"]]
    print(f"process {least['with'] / least['without'] - 1:+.1%}, inside {min(inside):.1%}")
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


main()
