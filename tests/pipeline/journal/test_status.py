"""What is said of a run, from the files that it leaves."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tersor.checkpoints.output.staging import Staging
from tersor.cli.printing import running
from tersor.errors import OutputError
from tersor.pipeline.journal.status import run_status

PLANNED = [["embed", 1000, False], ["b.0", 100, True], ["b.1", 100, True], ["b.2", 300, True]]
RECORD = {"module": "m", "shape": [2, 2], "scheme": "W4", "stored_bytes": 2}


def unit(name: str, seconds: float, **record: Any) -> dict[str, Any]:
    records = [RECORD | record] if record else []
    return {"name": name, "seconds": seconds, "records": records}


def left(out: Path, journal: list[Any], log: list[Any]) -> Path:
    root = out.with_name(f".{out.name}.partial")
    root.mkdir()
    for name, lines in (("journal.jsonl", journal), ("log.jsonl", log)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / name).write_text(text, encoding="utf-8")
    return out


def test_what_is_left_goes_as_what_was_done_went(tmp_path: Path) -> None:
    units = [unit("embed", 9.0), unit("b.0", 2.0, sqnr_db=20.0, output_error=0.02)]
    more = unit("b.1", 4.0, sqnr_db=10.0)
    out = left(tmp_path / "out", [{"planned": PLANNED}, {"units": units}, {"units": [more]}], [])
    found = run_status(out)
    assert (found.state, found.done, found.planned, found.last) == ("ended", 3, 4, "b.1")
    assert found.seconds == 15.0
    assert found.seconds_left == pytest.approx(300 * 6.0 / 200)
    assert (found.sqnr_db, found.output_error) == (15.0, 0.02)
    assert (found.memory, found.pid) == (None, None)


def test_before_the_first_block_nobody_knows(tmp_path: Path) -> None:
    out = left(tmp_path / "out", [{"planned": PLANNED}, {"units": [unit("embed", 9.0)]}], [])
    assert run_status(out).seconds_left is None


def test_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decided = [unit(name, 1.0) for name, *_ in PLANNED]
    log = [
        {"event": "began", "pid": 1, "elapsed": 0.0},
        {"event": "training", "step": 0, "steps": 90, "elapsed": 100.0},
        {"event": "resumed", "pid": os.getpid(), "elapsed": 0.0},
        {"event": "training", "step": 40, "steps": 90, "elapsed": 10.0},
        {"event": "training", "step": 50, "steps": 90, "elapsed": 30.0},
    ]
    out = left(tmp_path / "out", [{"planned": PLANNED}, {"decided": decided}], log)
    found = run_status(out)
    assert (found.done, found.step, found.steps, found.seconds_left) == (4, 50, 90, 80.0)
    running.status(found, as_json=False)
    assert "training:  step 50 of 90" in capsys.readouterr().out


def test_a_living_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    staging = Staging(tmp_path / "out")
    try:
        assert (run_status(tmp_path / "out").state, run_status(tmp_path / "out").done) == (
            *("running", 0),
        )
        log = {"event": "began", "pid": os.getpid(), "elapsed": 0.0}
        (staging.directory / "log.jsonl").write_text(json.dumps(log) + "\n{torn")
        (staging.directory / "journal.jsonl").write_text(json.dumps({"planned": PLANNED}) + "\n")
        found = run_status(tmp_path / "out")
        assert (found.state, found.done, found.pid) == ("running", 0, os.getpid())
        assert found.memory is None or found.memory > 2**20
        running.status(found, as_json=True)
        assert json.loads(capsys.readouterr().out)["planned"] == 4
    finally:
        staging.discard()


def test_what_ended_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = [{"event": "began", "pid": 1}, {"event": "ended", "error": "OSError", "said": "gone"}]
    out = left(tmp_path / "out", [{"planned": PLANNED}, {"units": [unit("embed", 1.0)]}], log)
    running.status(run_status(out), as_json=False)
    said = capsys.readouterr().out
    assert "ended before it was finished (OSError: gone); go on with --resume" in said


def test_no_run(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("out", "nowhere"):
        with pytest.raises(OutputError, match=f"{name}: no run is there"):
            run_status(tmp_path / name)
