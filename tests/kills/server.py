"""A process that has imported everything, and forks one for each run: ``python -m kills.server``.

Lines of JSON in: what to run and what shall happen to it; lines out: how it ended.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))


from kills.cases import CASES
from kills.faults import Counter, die, disk_full, killed_before, killed_behind, read_only
from tersor.cli.ending import TERMINATED, ended_by_sigterm

_HAPPENS = {
    **{"before": killed_before, "behind": killed_behind},
    **{"full": disk_full, "read only": read_only},
}


def main() -> None:
    """Serve until there is no input any more."""
    for line in sys.stdin:
        print(json.dumps(_in_a_fork(json.loads(line))), flush=True)


def _in_a_fork(asked: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        said: dict[str, Any] = {}
        status = 0
        try:
            said = _run(asked)
        except SystemExit as error:
            status = int(str(error.code))
        except BaseException as error:
            said = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        finally:
            os.write(writing, json.dumps(said).encode())
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    found = json.loads(said) if said else {}
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    killed |= os.WIFEXITED(status) and os.WEXITSTATUS(status) == TERMINATED
    return found | {"killed": killed, "seconds": time.monotonic() - started}


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    case, directory = CASES[asked["case"]], Path(asked["directory"])
    if asked.get("prepare"):
        case.prepare(directory)
        return {}
    counter = Counter(asked.get("at", 0), _HAPPENS[asked.get("happens", "before")])
    if asked.get("after"):
        threading.Timer(asked["after"], die).start()
    if asked.get("term"):
        end = partial(os.kill, os.getpid(), signal.SIGTERM)
        threading.Timer(asked["term"], end).start()
    with ended_by_sigterm("terminated"):
        case.run(directory, Path(asked["out"]), resume=asked.get("resume", False))
    return {"calls": counter.count}


main()
