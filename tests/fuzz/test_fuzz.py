"""A few damaged files of every kind; `make fuzz` tries thousands."""

import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fuzz.figures import table, with_table
from fuzz.judging import CRASH, FINE, HANG, OTHER, TYPED
from fuzz.targets import TARGETS


def test_a_few_of_every_kind_end_in_an_answer_or_in_one_line(tmp_path: Path) -> None:
    # In a process that has started no threads: it forks.
    command = [sys.executable, "-m", "fuzz", "--each", "6", "--sound", "1"]
    done = subprocess.run(
        [*command, "--log", str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| **all** | {6 * len(TARGETS)} |" in done.stdout


def test_the_table_is_put_into_its_page() -> None:
    counts = {"config": Counter({FINE: 1200, TYPED: 2}), "gguf": Counter({OTHER: 1, CRASH: 1})}
    made = table(counts)
    assert made.splitlines()[2:] == [
        "| config | 1,202 | 1,200 | 2 | 0 | 0 | 0 |",
        "| gguf | 2 | 0 | 0 | 1 | 1 | 0 |",
        "| **all** | 1,204 | 1,200 | 2 | 1 | 1 | 0 |",
    ]
    page = "before\n<!-- figures of make fuzz -->\nold\n<!-- end of figures -->\nafter\n"
    put = with_table(page, made)
    assert "old" not in put
    assert put.startswith("before\n")
    assert put.endswith("<!-- end of figures -->\nafter\n")
    assert with_table(put, made) == put
    with pytest.raises(ValueError, match="no place for figures"):
        with_table("before", made)


def test_what_ends_a_process_or_never_ends_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fuzz import trying, worker
    from fuzz.judging import Outcome

    ends = {0: "os.abort()", 1: "time.sleep(9)", 2: "sys.exit(3)"}

    def tried(name: str, number: int, *folders: Path) -> Outcome:
        exec(f"import os, sys, time\n{ends.get(number, 'pass')}")
        return Outcome(FINE)

    monkeypatch.setattr(trying, "tried", tried)
    monkeypatch.setattr(worker, "_SECONDS", 1)
    # That of the other tests counts too.
    monkeypatch.setattr(worker, "_MEMORY", resource.RLIM_INFINITY)
    inputs = [("x", number) for number in range(5)]
    found = dict(worker.outcomes(inputs, tmp_path, jobs=2, log=tmp_path / "log"))
    kinds = [found["x", number].kind for number in range(5)]
    assert kinds == [CRASH, HANG, CRASH, FINE, FINE]
