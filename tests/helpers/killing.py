"""Processes that are killed in the middle of their work."""

import os
import signal
import warnings
from collections.abc import Callable


def killed(work: Callable[[], object]) -> None:
    """Run ``work``, which calls :func:`die`, in a process of its own."""
    with warnings.catch_warnings():
        # Of threads that do not exist in the child, which uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die() -> None:
    """Be killed: nothing after this runs, no handler and no ``finally``."""
    os.kill(os.getpid(), signal.SIGKILL)
