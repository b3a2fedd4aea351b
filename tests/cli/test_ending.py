"""SIGTERM ends a command soon, whatever it is doing."""

import hashlib
import os
import signal
import warnings
from collections.abc import Callable

import pytest

from tersor.cli.ending import TERMINATED, ended_by_sigterm


def status_of(work: Callable[[], object]) -> int:
    """Exit status of a process of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
        except SystemExit as error:
            status = int(str(error.code))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_is_open_is_closed(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with ended_by_sigterm("go on later"):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.write(1, b"closed")

    assert status_of(work) == TERMINATED
    found = capfd.readouterr()
    assert (found.out, found.err.strip()) == ("closed", "go on later")


def test_a_long_computation_is_not_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with ended_by_sigterm("go on later"):
            try:
                if os.fork() == 0:
                    os.kill(os.getppid(), signal.SIGTERM)
                    os._exit(0)
                hashlib.pbkdf2_hmac("sha512", b"a", b"b", 2**26)  # no step of Python for a minute
            finally:
                os._exit(3)

    assert status_of(work) == TERMINATED
    assert capfd.readouterr().err.strip() == "go on later"


def test_without_a_signal_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_sigterm("go on later"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
