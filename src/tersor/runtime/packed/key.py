"""Of what packed weights are packed, and by what code: two keys."""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tersor.checkpoints.gateway.codeless import TEMPLATES
from tersor.checkpoints.huggingface.directory import INDEX, SINGLE
from tersor.checkpoints.huggingface.shards import read_index
from tersor.version import own_version

# Clocks of file systems tick every 10 ms or more often.
_TICK_NS = 20_000_000
_PACKAGE = Path(__file__).parents[2]
_CODE = (".py", ".so")


def contents_key(directory: Path) -> str:
    """Stands for what the files of a model hold that weights are read from.

    ``directory``: where they are, or the only file.

    Every file's device, inode, size and times, of which nothing can set the time of change: a copy
    over a file, another file in its place and a write that puts the other time back all change the
    key. So do copies and moves to other places, which hold the same; those are packed anew.

    Raises :class:`OSError` and :class:`~tersor.errors.SourceError`.
    """
    if directory.is_file():
        return _state([directory])
    names = ["config.json", SINGLE]
    if not (directory / SINGLE).exists():
        names = ["config.json", INDEX, *sorted(set(read_index(directory / INDEX).values()))]
    return _state([directory / name for name in names])


def directory_key(directory: Path) -> str:
    """The same for all plain files of a directory that a tokenizer may be read from.

    Or for the only file of a model. Raises :class:`OSError`.
    """
    if directory.is_file():
        return _state([directory])
    found = [*directory.iterdir(), *(directory / TEMPLATES).glob("*")]
    return _state(sorted(path for path in found if path.is_file()))


def _state(files: Sequence[Path]) -> str:
    # A file may change again within the tick in which it was changed last, and look the same.
    if time.time_ns() - max((file.stat().st_ctime_ns for file in files), default=0) < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
    states = []
    for file in files:
        found = file.stat()
        times = (found.st_mtime_ns, found.st_ctime_ns)
        states.append((file.name, found.st_dev, found.st_ino, found.st_size, *times))
    return _digest(repr(states))


def layout_key() -> str:
    """Stands for how weights are checked and packed: tersor's version, and its code as installed.

    Whatever changes it, in Python or in native code, changes the key.
    """
    return _digest(repr([own_version(), *sorted(_code(str(_PACKAGE)))]))


def _code(directory: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change of every module; files of packages keep that in images."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _code(entry.path)
            elif entry.name.endswith(_CODE):
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
