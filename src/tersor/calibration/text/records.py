"""JSON, JSON lines, CSV and Parquet → rows, one after the other."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tersor.calibration.text.compressed import BROKEN, open_bytes, unreadable
from tersor.calibration.text.rows import FIELDS, Row, field_of, row_of
from tersor.errors import MissingExtra, TextError

_BATCH = 256


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line of a UTF-8 file.

    Raises :class:`TextError` if it cannot be read.
    """
    number = 0
    try:
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not UTF-8 text behind line {number}; convert it to UTF-8"
        ) from error
    except BROKEN as error:
        raise unreadable(path, error) from error


def json_lines(path: Path) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are none."""
    values = (
        (f"{path}, line {number}", _json(line, f"{path}, line {number}"))
        for number, line in lines(path)
        if line.strip()
    )
    return _objects(values)


def json_file(path: Path) -> Iterator[Row]:
    """Rows of a JSON file: a list of objects, or one object."""
    value = _json("".join(line for _, line in lines(path)), str(path))
    found = value if isinstance(value, list) else [value]
    return _objects((f"{path}, entry {i}", one) for i, one in enumerate(found, 1))


def table(path: Path, delimiter: str = ",") -> Iterator[Row]:
    """Rows of a CSV file whose first line names a column ``text``."""
    reader = csv.reader((line for _, line in lines(path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    try:
        for values in reader:
            place = f"{path}, line {reader.line_num}"
            if not values:
                continue
            if not header:
                header = values
                if field_of(header, place) != "text":
                    raise TextError(f"{place}: messages are read from JSON lines and Parquet only")
            elif len(values) != len(header):
                raise TextError(f"{place}: {len(values)} fields, the first line has {len(header)}")
            else:
                yield row_of(values[header.index("text")], "text", place)
    except csv.Error as error:
        raise TextError(
            f"{path}, line {reader.line_num}: broken CSV ({error}); use JSON lines"
        ) from error


def parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet file; needs pyarrow, and raises :class:`MissingExtra` without."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra(
            f"{path}: Parquet needs pyarrow; pip install 'tersor[parquet]', or use JSON lines"
        ) from None
    number = 0
    try:
        with ParquetFile(path) as file:
            field = field_of(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(_BATCH, columns=[field]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield row_of(value, field, f"{path}, row {number}")
    except (ArrowException, OSError) as error:
        first = (str(error).splitlines() or ["broken"])[0]
        raise TextError(f"{path}: no Parquet file that can be read ({first})") from error


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "too deep")
        raise TextError(f"{place}: broken JSON ({reason})") from error


def _objects(values: Iterator[tuple[str, Any]]) -> Iterator[Row]:
    """Rows of JSON objects that are all read by the same field."""
    field = ""
    for place, value in values:
        if not isinstance(value, dict):
            raise TextError(
                f"{place}: {type(value).__name__}, not an object with one of {' and '.join(FIELDS)}"
            )
        own = field_of(list(value), place)
        field = field or own
        if own != field:
            raise TextError(
                f"{place}: {own}, but rows before it have {field}; make two files of it"
            )
        yield row_of(value[field], field, place)
