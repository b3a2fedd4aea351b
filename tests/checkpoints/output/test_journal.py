"""Lines that are there or not, whatever happened while they were written."""

import errno
import json
import os
from pathlib import Path

import pytest

from tersor.checkpoints.output.journal import Journal
from tersor.checkpoints.output.unfinished import (
    finished,
    how_far,
    is_published,
    partial_of,
    refuse_unfinished,
)
from tersor.errors import OutputError

LINES = [{"planned": [["a", 1, True], ["b", 2, False]]}, {"units": [{"name": "ä\n"}]}, {"c": 1e-9}]


def written(path: Path) -> Journal:
    journal = Journal(path)
    for line in LINES:
        journal.add(line)
    return journal


def test_lines_come_back(tmp_path: Path) -> None:
    assert written(tmp_path / "journal").entries() == LINES
    assert Journal(tmp_path / "none").entries() == []


@pytest.mark.parametrize("kept", [1, 5, 0.5, -1])
def test_a_torn_line_counts_as_never_written(kept: float, tmp_path: Path) -> None:
    journal = written(tmp_path / "journal")
    data = journal.path.read_bytes()
    last = data.splitlines(keepends=True)[-1]
    torn = last[: int(kept * len(last)) if isinstance(kept, float) else kept]
    journal.path.write_bytes(data[: -len(last)] + torn)
    assert journal.entries() == LINES[:-1]
    journal.add({"d": None})
    assert journal.entries() == [*LINES[:-1], {"d": None}]


@pytest.mark.parametrize("line", [b"{", b"[]", b"\xff", b""])
def test_a_line_that_is_none_is_named(line: bytes, tmp_path: Path) -> None:
    journal = written(tmp_path / "journal")
    journal.path.write_bytes(line + b"\n" + journal.path.read_bytes())
    with pytest.raises(OutputError, match=r"journal: line 1 is none of a journal; .* --force"):
        journal.entries()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written(tmp_path / "journal")
    write = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        write(descriptor, data[:7], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match="journal: no space left on the disk"):
        journal.add({"d": "more"})
    monkeypatch.undo()
    assert journal.entries() == LINES
    journal.add({"d": "more"})
    assert journal.entries() == [*LINES, {"d": "more"}]


def test_what_is_unfinished_is_seen_from_outside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refuse_unfinished(out)
    partial_of(out).mkdir()
    journal = written(partial_of(out) / "journal.jsonl")
    assert finished(journal.entries()) == ["ä\n"]
    assert how_far(journal.entries()) == "1 of 2 units finished"
    with pytest.raises(OutputError, match=r"out: an unfinished run is there \(1 of 2 units"):
        refuse_unfinished(out)


@pytest.mark.parametrize("file", [None, "model.gguf"])
def test_a_run_that_was_killed_behind_its_end(file: str | None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    artifact = partial_of(out) / "artifact"
    artifact.mkdir(parents=True)
    staged = artifact if file is None else artifact / file
    if file is not None:
        staged.touch()
    journal = written(partial_of(out) / "journal.jsonl")
    assert not is_published(out, file)
    journal.add({"complete": True})
    assert not is_published(out, file)
    staged.rename(out)
    assert is_published(out, file)


def test_json_is_one_line(tmp_path: Path) -> None:
    data = written(tmp_path / "journal").path.read_bytes()
    assert [json.loads(line) for line in data.splitlines()] == LINES
