"""Every error tersor raises on purpose.

::

    TersorError
    ├── SourceError        a model that cannot be read: missing, corrupt, unsafe or unsupported
    │   ├── UnsafeSource   it could be read, but reading it could run code or leave its directory
    │   └── NonFiniteWeight
    ├── RecipeError        a recipe, a flag or a pattern that makes no sense
    │   └── OptionError    a value that an option does not take, or an option without effect
    ├── SchemeError        numbers that cannot be represented as asked
    ├── OutputError        a result that cannot be written: exists already, disk full, no permission
    │   ├── OutputBusy     another process is writing it
    │   └── ReadBackError  written, read again, and not what was meant
    ├── FormatError        a quantized artifact that does not follow its format
    ├── TextError          text that is missing, too short, or not that of the recipe
    ├── MissingExtra       an optional dependency that is not installed
    ├── MachineError       something that this machine cannot run
    │   └── OutOfMemory    it needs more memory than there is
    └── EngineError        a model that the engine does not run

A message is one line. It names the file, tensor or flag, and the way out. What it quotes of a file
may be endless or move the cursor: the middle of long messages is left out, and what cannot be
printed is written as Python would.
"""

from collections.abc import Callable

_LONGEST, _END = 900, 300


class TersorError(Exception):
    """Base of all of them; the command line prints it as one line and exits with status 1."""

    def __init__(self, said: str) -> None:
        super().__init__(readable(said))


class SourceError(TersorError):
    """A model directory or GGUF file that cannot be read as it is."""


class UnsafeSource(SourceError):
    """Reading this source could execute code or leave its directory."""


class HubError(SourceError):
    """A model that cannot be fetched from a hub, or sent to it."""


class NonFiniteWeight(SourceError):
    """A weight tensor holds NaN or infinity."""


class RecipeError(TersorError):
    """An unknown recipe, key or pattern, or a combination that makes no sense."""


class OptionError(RecipeError):
    """An option has a value that it does not take, or no effect beside the others."""

    def __init__(self, option: str, what: str, *others: str) -> None:
        """``option``: name of the Python parameter, from which ``what`` goes on, with a ``{}`` for
        each of the ``others`` that it names. The command line puts flags for all of them."""
        self.option, self.what, self.others = option, what, others
        super().__init__(self.said(str))

    def said(self, name: Callable[[str], str]) -> str:
        """The message with every option called ``name(option)``."""
        what = self.what.format(*map(name, self.others)) if self.others else self.what
        return f"{name(self.option)} {what}"


class SchemeError(TersorError):
    """Numbers that the requested grid, granularity or width cannot represent."""


class OutputError(TersorError):
    """The result cannot be written where it was asked for."""


class OutputBusy(OutputError):
    """Another process is writing the same result."""


class ReadBackError(OutputError):
    """What was read back from disk is not what was written."""


class FormatError(TersorError):
    """A quantized artifact that does not follow its own format."""


class TextError(TersorError):
    """Text for calibration or evaluation: missing, too short, or not that of the recipe."""


class MissingExtra(TersorError):
    """An optional dependency is needed and not installed."""


class MachineError(TersorError):
    """Something that this machine cannot run was asked for."""


class OutOfMemory(MachineError):
    """More memory is needed than there is."""


class EngineError(TersorError):
    """A model, or a use of it, that the engine does not run; other code may."""

    def __init__(self, what: str) -> None:
        """``what``: the part of the model that is not run."""
        super().__init__(f"tersor's engine does not run {what}")


def readable(message: str) -> str:
    """The message in one line that people can read, its beginning and its end if it is long."""
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST - _END]} […] {message[-_END:]}"
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
