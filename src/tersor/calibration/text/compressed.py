"""Files as bytes, compressed or not."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from tersor.errors import TextError

# By what files begin with: names may say anything.
_OPENERS: Mapping[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_REFUSED: Mapping[bytes, str] = {
    b"\x28\xb5\x2f\xfd": "compressed with zstd, which Python cannot read; use `zstd -d` first",
    b"PK\x03\x04": "a zip archive; take the files out of it first",
}
# What reading broken files of these kinds raises.
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


def open_bytes(path: Path) -> IO[bytes]:
    """A file for reading, decompressed (gzip, bzip2, xz; each told by its first bytes).

    Raises :class:`TextError` for what cannot be opened, and other compression. Reading may raise
    any of ``BROKEN``; ``unreadable`` makes a :class:`TextError` of it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(6)
        for magic, reason in _REFUSED.items():
            if head.startswith(magic):
                raise TextError(f"{path}: {reason}")
        for magic, opener in _OPENERS.items():
            if head.startswith(magic):
                return cast("IO[bytes]", opener(path))
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> TextError:
    """The error for a file whose reading failed."""
    reason = getattr(error, "strerror", None) or f"broken: {error}"
    return TextError(f"{path}: cannot be read ({reason})")


def bare_suffix(path: Path) -> str:
    """The last part of a file's name, in lower case, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
