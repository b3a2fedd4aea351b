"""How many threads make sense: one for each core that the process may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tersor.machine import cores as module
from tersor.machine.cores import cores


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def machine(
    monkeypatch: pytest.MonkeyPatch, folder: Path, siblings: list[str], allowed: set[int]
) -> None:
    """A machine whose processors have these ``siblings``, one file each."""
    for number, text in enumerate(siblings):
        (folder / str(number)).write_text(text)
    monkeypatch.setattr(module, "_SIBLINGS", f"{folder}/{{}}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)


def test_processors_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, ["0,2", "1,3", "0,2", "1,3"], {0, 1, 2, 3})
    assert cores() == 2


def test_only_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, ["0,2", "1,3", "0,2", "1,3"], {1, 3})
    assert cores() == 1


def test_where_nobody_says_every_processor_is_a_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, [], {0, 1, 2})
    assert cores() == 3


@pytest.mark.parametrize(("said", "count"), [("3", 3), ("5,2", 5), ("0", 4), ("many", 4), ("", 4)])
def test_the_environment_decides(
    said: str, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, ["0", "1", "2", "3"], {0, 1, 2, 3})
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores() == count


def test_torch_counts_them_likewise() -> None:
    """In a process of its own: other tests tell torch how many threads to use."""
    count = "import torch; print(torch.get_num_threads())"
    named = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    plain = {name: value for name, value in os.environ.items() if name not in named}
    command = [sys.executable, "-c", count]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=plain)
    assert cores() == int(found.stdout)
    assert 1 <= cores() <= (os.cpu_count() or 1)
