"""What is said beside a conversation, its commands, and Ctrl-C, without a model."""

import io
import os
import stat
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tersor.cli.printing import dialogue
from tersor.cli.printing.dialogue import COMMANDS, Dialogue, editing, history_file, introduce
from tersor.errors import TextError
from tersor.runtime.engine.engine import Token
from tersor.runtime.engine.sampling import Sampling


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


class Parrot:
    """Answers with the question, word for word, and says in the end that it is over."""

    def __init__(self, finish: str = "end") -> None:
        self.system = ""
        self.cleared = 0
        self.asked: list[str] = []
        self._finish = finish

    def clear(self) -> None:
        self.cleared += 1

    def begin(self, system: str) -> None:
        if "no" in system:
            raise TextError("the template takes no system message")
        self.system = system

    def tokens(self, question: str, *, max_new_tokens: int) -> Generator[Token, None, None]:
        self.asked.append(question)
        words = question.split()[:max_new_tokens]
        for i, word in enumerate(words):
            if word == "^C":
                raise KeyboardInterrupt
            yield Token(i, word + " ", self._finish if i == len(words) - 1 else "")


Talk = Callable[..., tuple[str, str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Standard output and error of a dialogue in which these lines are typed."""

    def run(parrot: Parrot, *typed: str | type[BaseException], most: int = 100) -> tuple[str, str]:
        lines: Iterator[Any] = iter(typed)

        def ask(prompt: str) -> str:
            line = next(lines, EOFError)
            if isinstance(line, str):
                return line
            raise line(prompt)

        monkeypatch.setattr("builtins.input", ask)
        capsys.readouterr()
        conversation: Any = parrot
        Dialogue(conversation, most).run()
        found = capsys.readouterr()
        return found.out, found.err

    return run


def test_answers_alone_are_on_standard_output(talk: Talk) -> None:
    assert talk(Parrot(), "hello you", "", "  ", "again") == ("hello you \nagain \n", "")


def test_an_answer_that_was_cut_off(talk: Talk) -> None:
    out, err = talk(Parrot("length"), "one two three", most=2)
    assert out == "one two \n"
    assert err == "cut off after 2 tokens; --max-new-tokens asks for more\n"
    _, err = talk(Parrot("length"), "one two three", most=50)
    assert "the context is full" in err


def test_commands(talk: Talk) -> None:
    parrot = Parrot()
    out, err = talk(parrot, "/help", "/reset", "/clear", "/system", "/system be brief", "/system")
    assert all(command in out for command in COMMANDS)
    assert out.splitlines()[-2:] == ["there is no system message", "be brief"]
    assert parrot.cleared == 2
    assert (parrot.asked, err) == ([], "")


def test_a_system_message_that_is_refused(talk: Talk) -> None:
    parrot = Parrot()
    _, err = talk(parrot, "/system be brief", "/system no")
    assert err == "error: the template takes no system message\n"
    assert parrot.system == "be brief"


@pytest.mark.parametrize("end", ["/exit", "/quit", EOFError])
def test_ends(talk: Talk, end: Any) -> None:
    parrot = Parrot()
    talk(parrot, "one", end, "two")
    assert parrot.asked == ["one"]


def test_what_is_no_command(talk: Talk) -> None:
    parrot = Parrot()
    _, err = talk(parrot, "/hlep", "/etc/hosts", " /etc/hosts is what?")
    first, second = err.splitlines()
    assert first.endswith("did you mean '/help'?")
    assert second.endswith("/help lists commands")
    assert parrot.asked == ["/etc/hosts is what?"]


def test_a_backslash_continues_a_line(talk: Talk) -> None:
    parrot = Parrot()
    talk(parrot, "one \\", "two\\", "three")
    assert parrot.asked == ["one \ntwo\nthree"]


def test_ctrl_c_stops_an_answer_and_not_the_dialogue(talk: Talk) -> None:
    parrot = Parrot()
    out, _ = talk(parrot, "one ^C two", "more")
    assert out == "one \nmore \n"


def test_ctrl_c_at_the_prompt(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        talk(Parrot(), KeyboardInterrupt, "more")
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setenv("TERSOR_CACHE", "off")
    parrot = Parrot()
    talk(parrot, KeyboardInterrupt, "more")
    assert parrot.asked == ["more"]


def test_speed_is_said_on_a_terminal(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Keyboard()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(dialogue.time, "perf_counter", iter([0.0, 2.0, 2.5, 3.0]).__next__)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    talk(Parrot(), "one two three")
    said = "3 tokens, the first after 2.00 s, then 2.0 tokens/s"
    assert terminal.getvalue() == f"\x1b[2m{said}\x1b[0m\n"


class Machine:
    def __init__(self, directory: Path) -> None:
        self.directory, self.notes = directory, ("lm_head stored at 8 bits",)

    def conditions(self) -> dict[str, Any]:
        names = {"instructions": "avx2", "threads": 2, "activation_bits": 8, "context": 512}
        return names | {"cache": "float16", "dense_bits": None}


def test_the_banner_says_what_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = Machine(tmp_path)
    introduce(engine, Sampling(0.7), 100)
    assert capsys.readouterr().out == ""  # nobody is at the keyboard
    monkeypatch.setattr(sys, "stdin", Keyboard())
    introduce(engine, Sampling(0.7, repetition_penalty=1.1), 100)
    said = capsys.readouterr().out
    (tmp_path / "tersor.json").write_text('{"recipe": "w4", "bits_per_quantized_weight": 4.25}')
    introduce(engine, Sampling(), 100)
    made = capsys.readouterr().out
    assert "not made by tersor" in said
    assert "recipe w4, 4.25 bits per weight" in made
    for fact in (str(tmp_path), "avx2, 2 threads", "512 tokens", "penalty 1.1", "lm_head", "/help"):
        assert fact in said


def test_the_history_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readline = pytest.importorskip("readline")
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.delenv("TERSOR_CACHE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = history_file()
    assert file is not None
    assert file.is_relative_to(tmp_path)
    before = os.umask(0)
    try:
        with editing():
            readline.add_history("what is a weight?")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    readline.clear_history()
    with editing():
        kept = [
            readline.get_history_item(i + 1) for i in range(readline.get_current_history_length())
        ]
    assert kept == ["what is a weight?"]
    readline.clear_history()


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with editing():
        pass
    assert (tmp_path / "file").read_bytes() == b""


def test_nothing_is_kept_where_nothing_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERSOR_CACHE", "off")
    assert history_file() is None
