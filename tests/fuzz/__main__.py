"""``python -m fuzz``: try many inputs, print what went wrong and a table."""

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

# Before transformers is imported; the command line sets the same.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fuzz.figures import table, with_table
from fuzz.judging import CRASH, FINE, HANG, OTHER, TYPED
from fuzz.targets import TARGETS
from fuzz.trying import pairs_of, sow
from fuzz.worker import Input, outcomes


def main() -> int:
    """Exit status 1 if an input had another end than an answer or a typed error."""
    asked = _arguments()
    inputs = _inputs(asked.only, asked.each, asked.sound)
    unsound = 0
    names = tuple(dict.fromkeys(name for name, _ in inputs))
    counts = {name: Counter[str]() for name in names}
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        _seed_elsewhere(Path(folder), names)
        for (name, number), outcome in outcomes(
            inputs, Path(folder), jobs=asked.jobs, log=Path(asked.log)
        ):
            if number < 0:
                unsound += outcome.kind != FINE
            else:
                counts[name][outcome.kind] += 1
            right = (FINE,) if number < 0 else (FINE, TYPED)
            if outcome.kind not in right or asked.verbose:
                print(f"{name}:{number} {outcome.kind}: {outcome.said}", flush=True)
    print(table(counts))
    if asked.page:
        page = Path(asked.page)
        page.write_text(with_table(page.read_text(encoding="utf-8"), table(counts)), "utf-8")
    wrong = sum(found[kind] for found in counts.values() for kind in (OTHER, CRASH, HANG))
    return int(unsound + wrong > 0)


def _seed_elsewhere(folder: Path, names: tuple[str, ...]) -> None:
    """In another process: threads that torch starts here would be missing in those forked later."""
    process = multiprocessing.get_context("fork").Process(target=sow, args=(folder, names))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError("what is sound could not be made; see above")


def _inputs(only: list[str], each: int, sound: int) -> list[Input]:
    inputs = []
    for one in only or list(TARGETS):
        name, colon, number = one.partition(":")
        undamaged = range(-min(sound, len(list(pairs_of(name)))), 0)
        numbers = [int(number)] if colon else [*undamaged[::-1], *range(each)]
        inputs += [(name, n) for n in numbers]
    return inputs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="inputs for each target")
    parser.add_argument(
        "--sound", type=int, default=0, help="undamaged ones for each target, which must be fine"
    )
    parser.add_argument(
        "--only", action="append", default=[], help=f"TARGET or TARGET:NUMBER; {', '.join(TARGETS)}"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--page", help="Markdown file whose table is replaced")
    parser.add_argument("--log", default=os.devnull, help="file for what processes print")
    parser.add_argument("--verbose", action="store_true", help="say what came of every input")
    return parser.parse_args()


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    sys.exit(main())
