"""What a text file holds: prose, or rows of a data set."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from tersor.calibration.text.compressed import BROKEN, bare_suffix, open_bytes, unreadable
from tersor.calibration.text.provenance import TextIdentity
from tersor.calibration.text.records import json_file, json_lines, parquet, table
from tersor.calibration.text.rows import Row
from tersor.errors import TextError

_HEAD = 1 << 16
_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class TextFile:
    """A file by what it holds: plain ``text``, or ``rows`` (which may be read again and again).

    ``kind`` names it for people. ``transcripts``: conversations may be read as plain text where
    the tokenizer has no chat template. ``built_in``: it comes with tersor.
    """

    name: str
    kind: str
    path: Path
    text: str = ""
    rows: Callable[[], Iterator[Row]] | None = None
    transcripts: bool = False
    built_in: bool = False

    @cached_property
    def identity(self) -> TextIdentity:
        """What tells the file from all others; reads it once.

        Raises :class:`TextError` if it cannot be read any more.
        """
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return TextIdentity(
                    self.name, self.kind, digest, file.tell(), built_in=self.built_in
                )
        except OSError as error:
            raise unreadable(self.path, error) from error


def open_text(path: Path) -> TextFile:
    """A file, its kind told by its name (.jsonl, .json, .csv, .tsv, .parquet) and its content.

    What is under another name (.txt, say) and yet JSON or Parquet is read as what it is.

    Raises :class:`TextError` naming a file that is missing, empty, or none of these, and for what
    is no file: it is read more than once, to know it again among others.
    """
    path = Path(path)
    _refuse_other_than_files(path)
    head, suffix = _head(path), bare_suffix(path)
    if head.startswith(b"PAR1") or suffix == ".parquet":
        return TextFile(path.name, "Parquet", path, rows=partial(parquet, path))
    if not head.strip():
        raise TextError(f"{path}: empty; give a file with text in it")
    if suffix in (".csv", ".tsv"):
        delimiter = "," if suffix == ".csv" else "\t"
        return TextFile(path.name, suffix[1:].upper(), path, rows=partial(table, path, delimiter))
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if suffix in _LINES or _object_a_line(begin):
        return TextFile(path.name, "JSON lines", path, rows=partial(json_lines, path))
    if suffix == ".json" or _is_json(path, begin):
        return TextFile(path.name, "JSON", path, rows=partial(json_file, path))
    text = read_plain(path)
    _refuse_table(path, text)
    return TextFile(path.name, "text", path, text)


def read_plain(path: Path) -> str:
    """The whole file as UTF-8 text.

    Raises :class:`TextError` for one that is missing, empty, binary or not UTF-8.
    """
    try:
        with open_bytes(path) as file:
            # A byte order mark is not text, and windows of the same text must be the same tokens
            # whatever system it was saved on.
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8"
        ) from error
    except BROKEN as error:
        raise unreadable(path, error) from error
    if "\0" in text:
        raise TextError(f"{path}: binary, not text; give a plain text file")
    if not text.strip():
        raise TextError(f"{path}: empty; give a file with text in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_other_than_files(path: Path) -> None:
    if path.is_dir():
        raise TextError(f"{path}: a directory; name the files in it")
    if path.exists() and not path.is_file():
        raise TextError(f"{path}: a pipe or a device; save what it gives to a file")


def _head(path: Path) -> bytes:
    try:
        with open_bytes(path) as file:
            return file.read(_HEAD)
    except BROKEN as error:
        raise unreadable(path, error) from error


def _object_a_line(begin: bytes) -> bool:
    """Whether the first line is a JSON object by itself, and not the whole of a JSON file's.

    A line longer than what was looked at counts as one if it begins like an object.
    """
    first, newline, rest = begin.partition(b"\n")
    if not newline and len(begin) > _HEAD // 2:
        return first.startswith(b'{"')
    return first.startswith(b"{") and _parses(first) and bool(rest.strip())


def _is_json(path: Path, begin: bytes) -> bool:
    """Whether a file under another name is JSON from beginning to end."""
    if not begin.startswith((b"{", b"[")):
        return False
    with open_bytes(path) as file:
        return _parses(file.read())


def _parses(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text.decode("utf-8-sig")), (dict, list))
    except (ValueError, RecursionError):
        return False


def _refuse_table(path: Path, text: str) -> None:
    """A table under the name of a text would be read as prose, commas and all."""
    head = [line for line in text.split("\n", 3)[:3] if line.strip()]
    for delimiter in (",", "\t", ";"):
        names = [name.strip(' "') for name in head[0].split(delimiter)]
        if len(head) > 1 and len(names) > 1 and "text" in names and delimiter in head[1]:
            raise TextError(
                f"{path}: its first line names columns ({', '.join(names)}), so it is a table and "
                "no text; name it .csv or .tsv"
            )
