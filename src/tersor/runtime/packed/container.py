"""Facts and arrays in a file that is mapped, not read.

``TERSORPK``, the header's length (8 bytes, little-endian), the header (JSON), its SHA-256, and
arrays at multiples of 64 bytes, where the kernels want them. A private format: files of another
version, or that are not whole, are as if they were not there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.files import flush_to_disk, map_bytes
from tersor.checkpoints.output.staging import Staging
from tersor.errors import SchemeError

VERSION = 8
_MAGIC = b"TERSORPK"
_ALIGNED = 64
_DIGEST = 32
_LONGEST_HEADER = 1 << 28
# Values of bfloat16 are bits to numpy.
_DTYPES: Mapping[str, "np.dtype[Any]"] = {
    "U8": np.dtype(np.uint8),
    "BF16": np.dtype(np.uint16),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "I8": np.dtype(np.int8),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
NONSENSE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, ArithmeticError),
    *(OSError, SchemeError),
)
"""What a header that makes no sense may raise on its way to what it stands for."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Origin:
    """Of what a file was made, and how: the ``artifact``'s directory, and a ``key``."""

    artifact: str
    key: str


def write_container(path: Path, facts: Mapping[str, Any], arrays: Arrays, origin: Origin) -> None:
    """Write a file, at once or not at all.

    Raises :class:`OSError`, and :class:`~tersor.errors.OutputBusy` if another process writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    places: dict[str, Any] = {}
    offset = 0
    for name, array in arrays.items():
        places[name] = [offset, _NAMES[array.dtype], list(array.shape)]
        offset = aligned(offset + array.nbytes)
    fields = {"version": VERSION, "artifact": origin.artifact, "key": origin.key, "size": offset}
    header = json.dumps({**fields, "facts": facts, "arrays": places}).encode()
    staging = Staging(path)
    try:
        partial = staging.directory / path.name
        with partial.open("wb") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            file.write(hashlib.sha256(header).digest())
            file.write(bytes(aligned(file.tell()) - file.tell()))
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
                file.write(bytes(aligned(file.tell()) - file.tell()))
        # A header that is there without its arrays would be taken for a whole file.
        flush_to_disk(partial)
        partial.replace(path)
    finally:
        staging.discard()


def read_container(path: Path, key: str) -> tuple[Any, Arrays]:
    """Facts and arrays, these mapped.

    Raises one of :data:`NONSENSE` unless the file is whole and has the ``key``.
    """
    raw = _mapped(path)
    header, first = _header(raw)
    if header["version"] != VERSION or header["key"] != key:
        raise ValueError("of something else")
    if len(raw) != first + header["size"]:
        raise ValueError("not whole")
    whole = raw[first:]
    return header["facts"], {name: _array(whole, *at) for name, at in header["arrays"].items()}


def read_origin(path: Path) -> Origin | None:
    """Of what a file was made; ``None`` if it is no such file, or another version's."""
    try:
        header, _ = _header(_mapped(path))
        if header["version"] != VERSION:
            return None
        return Origin(str(header["artifact"]), str(header["key"]))
    except NONSENSE:
        return None


def is_container(path: Path) -> bool:
    """Whether a file is such a one, whole or not, of any version."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def aligned(offset: int) -> int:
    """The next place where an array may begin."""
    return -(-offset // _ALIGNED) * _ALIGNED


def _mapped(path: Path) -> NDArray[np.uint8]:
    return map_bytes(path, 0, path.stat().st_size)


def _header(raw: NDArray[np.uint8]) -> tuple[Any, int]:
    """The header, and where arrays begin. Raises one of ``NONSENSE``."""
    start = len(_MAGIC) + 8
    if raw[: len(_MAGIC)].tobytes() != _MAGIC:
        raise ValueError("another kind of file")
    length = int.from_bytes(raw[len(_MAGIC) : start].tobytes(), "little")
    if length > min(len(raw), _LONGEST_HEADER):
        raise ValueError("a header that is longer than the file")
    header, end = raw[start : start + length].tobytes(), start + length + _DIGEST
    if hashlib.sha256(header).digest() != raw[start + length : end].tobytes():
        raise ValueError("a header that was changed")
    return json.loads(header), aligned(end)


def _array(whole: NDArray[np.uint8], offset: int, name: str, shape: list[int]) -> NDArray[Any]:
    dtype = _DTYPES[name]
    size = prod(shape) * dtype.itemsize
    if offset < 0 or offset % _ALIGNED or size < 0 or offset + size > len(whole):
        raise ValueError("an array that is not in the file")
    return whole[offset : offset + size].view(dtype).reshape(shape)
