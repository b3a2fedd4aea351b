"""Inputs in a process of their own: what ends it, or never ends, is noted, and the next go on."""

import faulthandler
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fuzz.judging import CRASH, HANG, Outcome

Input = tuple[str, int]
"""A target's name and a number."""

_SECONDS = 60
_MEMORY = 6 * 1024**3
# A new process now and then: nothing that leaks counts as an input's memory.
_AT_ONCE = 100
_FORK = multiprocessing.get_context("fork")


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    inputs: Sequence[Input]
    done: int = 0


def outcomes(
    inputs: Sequence[Input], seeds: Path, *, jobs: int, log: Path
) -> Iterator[tuple[Input, Outcome]]:
    """What comes of every input, in no order. ``log``: what the processes print."""
    waiting = [inputs[start : start + _AT_ONCE] for start in range(0, len(inputs), _AT_ONCE)]
    running: list[_Worker] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_start(waiting.pop(0), seeds, log))
        ready = wait([worker.connection for worker in running])
        for worker in [worker for worker in running if worker.connection in ready]:
            try:
                outcome = worker.connection.recv()
            except EOFError:
                running.remove(worker)
                outcome = _ended(worker)
                rest = worker.inputs[worker.done + 1 :]
                if rest:
                    waiting.insert(0, rest)
                if outcome is None:
                    continue
            yield worker.inputs[worker.done], outcome
            worker.done += 1


def _start(inputs: Sequence[Input], seeds: Path, log: Path) -> _Worker:
    ours, theirs = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(inputs, seeds, log, theirs))
    process.start()
    theirs.close()
    return _Worker(process, ours, inputs)


def _ended(worker: _Worker) -> Outcome | None:
    worker.process.join()
    code = worker.process.exitcode
    if worker.done == len(worker.inputs) and code == 0:
        return None
    if code == -signal.SIGALRM:
        return Outcome(HANG, f"no end within {_SECONDS} s")
    return Outcome(CRASH, f"the process ended with {code}")


def _work(inputs: Sequence[Input], seeds: Path, log: Path, connection: Connection) -> None:
    from fuzz import trying

    _confine(log)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["TERSOR_CACHE"] = str(Path(folder) / "cache")
        for target, number in inputs:
            faulthandler.dump_traceback_later(0.9 * _SECONDS)
            signal.alarm(_SECONDS)
            connection.send(trying.tried(target, number, seeds, Path(folder)))
            signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()


def _confine(log: Path) -> None:
    """Limits of time and memory, and a file in place of the terminal."""
    import torch

    # Its handler in Python would wait for native code: the default one ends the process.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    faulthandler.enable()
