"""Names of Python parameters as they are written on the command line."""

from collections.abc import Mapping

from tersor.errors import OptionError

_OTHERS = {
    "directory": "DIRECTORY",
    "source": "SOURCE",
    "gguf": "GGUF",
    "name": "NAME",
    "texts": "--text",
}


def flag(option: str) -> str:
    """``max_new_tokens`` → ``--max-new-tokens``, ``source`` → ``SOURCE``."""
    return _OTHERS.get(option, "--" + option.replace("_", "-"))


def refuse_without(needed: str, given: object, others: Mapping[str, object]) -> None:
    """Raise :class:`OptionError` for the first of ``others`` that is set, if ``needed`` is not."""
    if given:
        return
    for name, value in others.items():
        if value is not None:
            raise OptionError(name, "has no effect without {}", needed)
