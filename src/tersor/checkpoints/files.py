"""Files written whole or not at all, and read with errors that say what to do."""

import errno
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.output.staging import Staging
from tersor.errors import OutputError, SourceError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that stands for a large one in a clone without Git LFS."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_PIECE = 1 << 24
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# safetensors reports an operating system error only inside its text.
_ERRNO_IN_TEXT = re.compile(r"os error (\d+)")


def write_failure(path: Path, error: Exception) -> OutputError:
    """The ``OutputError`` for an ``error`` met while writing ``path``: cause and way out."""
    number = getattr(error, "errno", None)
    if number is None and (match := _ERRNO_IN_TEXT.search(str(error))):
        number = int(match[1])
    if number in DISK_FULL:
        return OutputError(
            f"{path}: no space left on the disk; free some space or choose another output directory"
        )
    if number in _FORBIDDEN:
        return OutputError(f"{path}: no permission to write here; choose another output directory")
    reason = os.strerror(number) if number else str(error)
    return OutputError(f"{path}: cannot be written ({reason}); choose another output directory")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn operating system errors of the block into ``OutputError`` for ``path``."""
    try:
        yield
    except OSError as error:
        raise write_failure(path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn operating system errors of the block into ``SourceError`` for ``path``."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such file; check the path or download it again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(
            f"{path}: cannot be read ({reason}); check the file and its permissions"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file to write to; at the end it is flushed to disk and renamed to ``path``.

    An existing file is never truncated, since somebody may have it mapped. On any exception the
    hidden one is removed and what existed stays; if the process is killed, the next one that writes
    ``path`` says so and removes it.

    Raises:
        OutputError: disk full, no permission, another process writes the same file.
    """
    with writing(path):
        staging = Staging(path)
        try:
            partial = staging.directory / path.name
            yield partial
            flush_to_disk(partial)
            partial.replace(path)
        finally:
            staging.discard()


def map_bytes(path: Path, offset: int, nbytes: int) -> NDArray[np.uint8]:
    """Bytes of a file, mapped copy-on-write; the mapping ends with the last view of them.

    Raises :class:`ValueError` if the file ends before them, and :class:`OSError`. Not
    ``np.memmap``, which asks for the state of every directory on the way, each time.
    """
    before = offset % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        mapped = mmap.mmap(
            file.fileno(), before + nbytes, access=mmap.ACCESS_COPY, offset=offset - before
        )
    return np.frombuffer(mapped, np.uint8, nbytes, before)


def refuse_lfs_pointer(path: Path) -> None:
    """Name the usual cause of a "corrupt" checkpoint: a clone without its large files.

    Raises:
        SourceError: the file is a Git LFS pointer, missing or unreadable.
    """
    with reading(path), path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise SourceError(f"{path}: a Git LFS pointer, not the file itself; run: git lfs pull")


def flush_to_disk(path: Path) -> None:
    """Wait until the file or directory entry survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, values: memoryview, offset: int) -> None:
    """Write bytes at ``offset`` of an open file, however many of them go at once."""
    done = 0
    while done < len(values):
        done += os.pwrite(descriptor, values[done : done + _PIECE], offset + done)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Raises:
        OutputError: disk full, no permission.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys, whole or not at all.

    Raises:
        OutputError: disk full, no permission.
    """
    write_text(path, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """A JSON object with sorted keys, as it is written."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SourceError: missing, unreadable, not JSON, or JSON but not an object.
    """
    refuse_lfs_pointer(path)
    with reading(path):
        data = path.read_bytes()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path}: not valid JSON ({error}); restore or download the file again"
        ) from error
    if not isinstance(value, dict):
        raise SourceError(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value
