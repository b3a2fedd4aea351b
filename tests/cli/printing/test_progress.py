"""Bars with an ETA on a terminal; nothing at all in a pipe."""

import io
import sys

import pytest

from tersor.cli.printing.progress import bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_no_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with bars() as watch:
        assert watch("work") is None
    assert pipe.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with bars() as watch:
        report = watch("work")
        assert report is not None
        report(1, 4)
        report(2, 4)
    assert "work" in terminal.getvalue()
    assert "left:" in terminal.getvalue()


def test_work_that_never_starts_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with bars() as watch:
        watch("calibrate")
    assert "calibrate" not in terminal.getvalue()
