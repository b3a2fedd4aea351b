"""Names of Python parameters as they are written on the command line."""

_OTHERS = {
    "directory": "DIRECTORY",
    "source": "SOURCE",
    "other": "OTHER",
    "gguf": "GGUF",
    "name": "NAME",
}


def flag(option: str) -> str:
    """``max_new_tokens`` → ``--max-new-tokens``, ``source`` → ``SOURCE``."""
    return _OTHERS.get(option, "--" + option.replace("_", "-"))
