"""What came of an input: through the library, then through the command line."""

import io
import math
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from fuzz.damage import emptied
from fuzz.entrances import Entrance
from tersor.cli.main import run
from tersor.errors import TersorError

FINE, TYPED, OTHER, CRASH, HANG = "fine", "typed", "other", "crash", "hang"
KINDS = (FINE, TYPED, OTHER, CRASH, HANG)
_LONGEST_MESSAGE = 1500


@dataclass(frozen=True)
class Outcome:
    """One of ``KINDS``, and what was said: an error's message, or what is wrong."""

    kind: str
    said: str = ""


def judged(entrance: Entrance, folder: Path) -> Outcome:
    """The worse of what the library and the command line make of the input in ``folder``."""
    found = []
    for way in (_by_library, _by_command):
        emptied(folder / "results")
        found.append(way(entrance, folder))
        left = _left_over(folder, found[-1])
        if left:
            found.append(left)
    return max(found, key=lambda outcome: KINDS.index(outcome.kind))


def _by_library(entrance: Entrance, folder: Path) -> Outcome:
    try:
        with _quiet(io.StringIO(), io.StringIO()):
            return _finite(entrance.call(folder))
    except TersorError as error:
        return _typed(str(error))
    except BaseException as error:
        return Outcome(OTHER, "library: " + _where(error))


def _by_command(entrance: Entrance, folder: Path) -> Outcome:
    said, answer, standard = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO("hello\n")
    try:
        with _quiet(said, answer):
            status = run(entrance.command(folder))
    except BaseException as error:
        return Outcome(OTHER, "command: " + _where(error))
    finally:
        sys.stdin = standard
    errors = [line for line in said.getvalue().splitlines() if line.startswith("error:")]
    if status == 0 and not errors:
        return Outcome(FINE)
    if entrance.tells and status == 1 and not errors and answer.getvalue().strip():
        return _typed(max(answer.getvalue().splitlines(), key=len))
    if status in (1, 2) and len(errors) == 1 and "a bug in tersor" not in errors[0]:
        return _typed(errors[0])
    return Outcome(OTHER, f"command: exit status {status}, said {said.getvalue()[-2000:]}")


def _finite(values: Iterable[float]) -> Outcome:
    wrong = [value for value in values if not math.isfinite(value)]
    return Outcome(OTHER, f"library: an answer of {wrong[0]}") if wrong else Outcome(FINE)


def _typed(message: str) -> Outcome:
    """A message is one line that people can read."""
    if not message.isprintable() or not message.strip() or len(message) > _LONGEST_MESSAGE:
        return Outcome(OTHER, f"a message of {len(message)} characters: {message[:300]!r}")
    return Outcome(TYPED, message)


def _left_over(folder: Path, outcome: Outcome) -> Outcome | None:
    """A failure leaves nothing behind."""
    left = sorted(path.name for path in (folder / "results").iterdir())
    if outcome.kind == FINE or not left:
        return None
    return Outcome(OTHER, f"{left} left behind after: {outcome.said}")


def _where(error: BaseException) -> str:
    """What was raised and where; without the input's own values, which may be endless."""
    places = traceback.extract_tb(error.__traceback__)[-5:]
    calls = " < ".join(f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in reversed(places))
    return f"{type(error).__name__}: {str(error)[:300]!r} at {calls}"


@contextmanager
def _quiet(said: io.StringIO, answer: io.StringIO) -> Iterator[None]:
    """Errors go to ``said``, and the rest to ``answer``."""
    with redirect_stderr(said), redirect_stdout(answer), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
