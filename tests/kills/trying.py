"""One trial: a run is killed, perhaps more than once, gone on with, and compared."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Server:
    """``kills.server`` as a process; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, case: str, **asked: Any) -> dict[str, Any]:
        """Run a case; what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked |= {"case": case, "directory": str(self._folder / case)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@dataclass(frozen=True)
class Undisturbed:
    """A case run to its end: its bytes, calls that changed something on disk, and seconds."""

    files: dict[str, bytes]
    calls: int
    seconds: float


def undisturbed(server: Server, folder: Path, case: str) -> Undisturbed:
    """Prepare a case and run it."""
    (folder / case).mkdir()
    prepared = server.ask(case, prepare=True)
    assert "error" not in prepared, prepared
    out = folder / case / "undisturbed"
    found = server.ask(case, out=str(out))
    assert "calls" in found, found
    return Undisturbed(contents(out), found["calls"], found["seconds"])


def contents(path: Path) -> dict[str, bytes]:
    """Files of an artifact by name."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()
    }


def trial(server: Server, folder: Path, case: str, seed: int, whole: Undisturbed) -> dict[str, Any]:
    """Kill a run at an instant that ``seed`` chooses, go on, and compare.

    Returns what happened; raises :class:`AssertionError` if the bytes are others.
    """
    random_ = random.Random(f"{case} {seed}")
    out = folder / case / f"out-{seed}"
    kills = []
    resume = False
    for _ in range(1 + (random_.random() < 0.3)):
        asked = _instant(random_, whole)
        found = server.ask(case, out=str(out), resume=resume, **asked)
        kills.append(asked | {"killed": found["killed"]})
        resume = found["killed"]
        if not resume:
            assert "calls" in found or "is complete" in found["error"], (kills, found)
            break
    if resume:
        found = server.ask(case, out=str(out), resume=True)
        if "exists already and is complete" in found.get("error", ""):
            found["calls"] = 0  # killed when nothing was left to do
        assert "calls" in found, (kills, found)
    assert contents(out) == whole.files, kills
    # A kill in the middle of removing what is of no use any more.
    shutil.rmtree(out.with_name(f".{out.name}.partial"), ignore_errors=True)
    left = [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}.")]
    assert left == [], kills
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return {"kills": kills}


def _instant(random_: random.Random, whole: Undisturbed) -> dict[str, Any]:
    """At one call that changes something on disk, or at a time."""
    if random_.random() < 0.7:
        happens = random_.choice(["before", "behind"])
        return {"at": random_.randint(1, whole.calls), "happens": happens}
    kind = random_.choice(["after", "term"])
    # The first run of a case, which was timed, is the slowest.
    return {kind: random_.uniform(0.02, 0.7) * whole.seconds}
