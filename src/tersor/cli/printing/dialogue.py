"""A conversation at the keyboard: lines, commands, and what is said of an answer."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.cli.printing.layout import say
from tersor.errors import TersorError, TextError
from tersor.options import nearest

if TYPE_CHECKING:
    from tersor.runtime.conversation.chat import Conversation
    from tersor.runtime.engine.engine import Engine
    from tersor.runtime.engine.sampling import Sampling

COMMANDS = {
    "/help": "list the commands",
    "/reset": "forget what was said, but not the system message; /clear does the same",
    "/system": "show the system message; /system TEXT: begin anew with this one",
    "/exit": "end, as Ctrl-D does",
}
_SAME = {"/clear": "/reset", "/quit": "/exit"}
_LINES_KEPT = 1000


class Dialogue:
    """Reads questions and commands until there are no more, and prints answers."""

    def __init__(self, conversation: "Conversation", max_new_tokens: int) -> None:
        self._conversation, self._most = conversation, max_new_tokens

    def run(self) -> None:
        """Until the end of the input or ``/exit``; Ctrl-C stops an answer or drops a line."""
        with editing():
            while (line := _question()) is not None:
                if not line.startswith("/"):
                    self._answer(line.strip())
                elif not self._command(line.strip()):
                    return

    def _command(self, line: str) -> bool:
        """Do what a line that begins with ``/`` asks for; whether the conversation goes on."""
        name, _, rest = line.partition(" ")
        name = _SAME.get(name, name)
        if name == "/help":
            for command, meaning in COMMANDS.items():
                say(f"{command:<8} {meaning}", 9)
            say("A line that ends with \\ goes on in the next; Ctrl-C stops an answer.", 2)
        elif name == "/reset":
            self._conversation.clear()
            _note("what was said is forgotten")
        elif name == "/system":
            self._system(rest.strip())
        elif name not in COMMANDS:
            hint = nearest(name, COMMANDS) or "; /help lists commands"
            _note(f"error: no command {name}, a space in front makes it a question{hint}", True)
        return name != "/exit"

    def _system(self, message: str) -> None:
        if not message:
            say(self._conversation.system or "there is no system message", 0)
            return
        try:
            self._conversation.begin(message)
        except TersorError as error:
            _note(f"error: {error}", True)
        else:
            _note("a new conversation, with this system message")

    def _answer(self, question: str) -> None:
        if not question:
            return
        clock, finish = _Clock(), ""
        tokens = self._conversation.tokens(question, max_new_tokens=self._most)
        try:
            with closing(tokens):
                for token in tokens:
                    clock.tick()
                    finish = token.finish
                    print(token.text, end="", flush=True)
        except KeyboardInterrupt:
            finish = "stopped"
        except TersorError as error:
            hint = "; /reset forgets what was said" * isinstance(error, TextError)
            _note(f"error: {error}{hint}", True)
            return
        print()
        if clock.count:
            _note(clock.line())
        if finish == "length":
            _note(self._cut(clock.count), True)

    def _cut(self, count: int) -> str:
        if count < self._most:
            return (
                "cut off: the context is full; /reset forgets what was said, --context asks for "
                "more"
            )
        return f"cut off after {count} tokens; --max-new-tokens asks for more"


def introduce(engine: "Engine", sampling: "Sampling", max_new_tokens: int) -> None:
    """Say what runs, where somebody sits at the keyboard."""
    if not sys.stdin.isatty():
        return
    of = engine.conditions()
    say(f"model      {engine.directory}: {_made_by(engine.directory)}")
    say(
        f"engine     {of['instructions']}, {of['threads']} threads, activations of "
        f"{of['activation_bits']} bits, cache {of['cache']}"
    )
    say(f"context    {of['context']} tokens, {max_new_tokens} of an answer at most")
    say(
        f"sampling   temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, "
        f"repetition penalty {sampling.repetition_penalty:g}"
    )
    for note in engine.notes:
        say(f"note       {note}")
    say("/help lists commands; Ctrl-C stops an answer, Ctrl-D ends", 2)


def _made_by(directory: Path) -> str:
    from tersor.checkpoints.files import read_json

    file = directory / "tersor.json"
    made: dict[str, Any] = read_json(file) if file.is_file() else {}
    if "recipe" not in made or "bits_per_quantized_weight" not in made:
        return "not made by tersor"
    return f"recipe {made['recipe']}, {made['bits_per_quantized_weight']:g} bits per weight"


class _Clock:
    """Times tokens as they come."""

    def __init__(self) -> None:
        self._begin = self._first = self._last = time.perf_counter()
        self.count = 0

    def tick(self) -> None:
        self._last = time.perf_counter()
        if self.count == 0:
            self._first = self._last
        self.count += 1

    def line(self) -> str:
        tokens = "1 token" if self.count == 1 else f"{self.count} tokens"
        said = f"{tokens}, the first after {self._first - self._begin:.2f} s"
        if self.count < 2 or self._last <= self._first:
            return said
        return f"{said}, then {(self.count - 1) / (self._last - self._first):.1f} tokens/s"


def _question() -> str | None:
    """The next question or command; ``None`` where the input ends.

    A line that ends with a backslash goes on in the next one.
    """
    at_keyboard = sys.stdin.isatty()
    try:
        line = input("> " if at_keyboard else "")
        while line.endswith("\\"):
            line = line[:-1] + "\n" + input("  " if at_keyboard else "")
    except KeyboardInterrupt:
        if not at_keyboard:
            raise
        print()
        _note("Ctrl-D or /exit ends")
        return ""
    except EOFError:
        print(end="\n" if at_keyboard else "")
        return None
    return line


def _note(text: str, always: bool = False) -> None:
    """Say something beside the conversation, on standard error: dim on a terminal.

    In a pipe only what must ``always`` be said.
    """
    if not sys.stderr.isatty():
        if always:
            print(text, file=sys.stderr)
        return
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    print(text if plain else f"\x1b[2m{text}\x1b[0m", file=sys.stderr)


def history_file() -> Path | None:
    """Where questions are kept for the next time; ``None`` if nothing is to be kept."""
    if os.environ.get("TERSOR_CACHE") == "off":
        return None
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local/state") / "tersor" / "chat-history"


@contextmanager
def editing() -> Iterator[None]:
    """Lines can be edited, looked up and completed meanwhile, where there is a keyboard.

    The history is a file that only its owner can read.
    """
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    file = history_file()
    readline.set_completer(_completed)
    readline.set_completer_delims("\n")
    libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    if file is not None:
        with suppress(OSError):
            readline.read_history_file(file)
    try:
        yield
    finally:
        if file is not None:
            with suppress(OSError):  # a home that cannot be written is no reason to fail
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.touch(mode=0o600)
                file.chmod(0o600)
                readline.set_history_length(_LINES_KEPT)
                readline.write_history_file(file)
                file.chmod(0o600)


def _completed(text: str, state: int) -> str | None:
    """The ``state``-th command that begins with ``text``."""
    found = [name for name in COMMANDS if text.startswith("/") and name.startswith(text)]
    return found[state] if state < len(found) else None
