"""What opening a source had to be allowed."""

from pathlib import Path

from tersor.checkpoints.adapters.settings import ADAPTER_CONFIG
from tersor.checkpoints.huggingface.directory import INDEX, SINGLE


def needed_flags(path: Path) -> tuple[str, ...]:
    """The flags without which ``open_source`` refuses what it opened at ``path``."""
    if not path.is_dir():
        return ()
    flags = []
    if not any((path / name).exists() for name in (SINGLE, INDEX)):
        flags.append("--allow-pickle")
    if (path / ADAPTER_CONFIG).exists():
        flags.append("--merge-adapter")
    return tuple(flags)
