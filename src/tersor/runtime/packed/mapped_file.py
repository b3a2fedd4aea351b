"""Packed weights in a file that is mapped, not read.

``TERSORPK``, the header's length (8 bytes, little-endian), the header (JSON), its SHA-256, and
arrays at multiples of 64 bytes, where the kernels want them. A private format: files of another
version, or that are not whole, are as if they were not there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor import _native
from tersor.checkpoints.files import flush_to_disk
from tersor.checkpoints.output.staging import Staging
from tersor.errors import SchemeError
from tersor.runtime.linears.kernels import PANEL, PackedLinear

VERSION = 5
_MAGIC = b"TERSORPK"
_ALIGNED = 64
_DIGEST = 32
_LONGEST_HEADER = 1 << 28
_DTYPES = {"U8": torch.uint8, "BF16": torch.bfloat16, "F32": torch.float32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ARRAYS = ("codes", "scales", "zeros", "levels")
_NUMBERS = ("zero", "rows", "columns", "group", "bits")
# What nonsense in a header may raise on its way to a linear.
_NONSENSE = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, ArithmeticError),
    *(OSError, SchemeError),
)


@dataclass(frozen=True)
class Origin:
    """Of what weights were packed, and how: the ``artifact``'s directory, and a ``key``."""

    artifact: str
    key: str


def write_packed(path: Path, linears: Mapping[str, PackedLinear], origin: Origin) -> None:
    """Write a file, at once or not at all.

    Raises :class:`OSError`, and :class:`~tersor.errors.OutputBusy` if another process writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    entries, arrays, offset = {}, [], 0
    for name, linear in linears.items():
        entry: dict[str, Any] = {number: getattr(linear, number) for number in _NUMBERS}
        for kind in _ARRAYS:
            array: Tensor | None = getattr(linear, kind)
            if array is not None:
                entry[kind] = [offset, _NAMES[array.dtype], list(array.shape)]
                arrays.append(array)
                offset = _up(offset + array.nbytes)
        entries[name] = entry
    header = json.dumps(
        {
            "version": VERSION,
            "artifact": origin.artifact,
            "key": origin.key,
            "size": offset,
            "linears": entries,
        }
    ).encode()
    staging = Staging(path)
    try:
        partial = staging.directory / path.name
        with partial.open("wb") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            file.write(hashlib.sha256(header).digest())
            file.write(bytes(_up(file.tell()) - file.tell()))
            for array in arrays:
                file.write(array.contiguous().view(torch.uint8).numpy().data)
                file.write(bytes(_up(file.tell()) - file.tell()))
        # A header that is there without its arrays would be taken for a whole file.
        flush_to_disk(partial)
        partial.replace(path)
    finally:
        staging.discard()


def packed_bytes(linears: Mapping[str, PackedLinear]) -> int:
    """Bytes of the arrays of a file of these linears; its header takes a little more."""
    arrays = (getattr(linear, kind) for linear in linears.values() for kind in _ARRAYS)
    return sum(_up(array.nbytes) for array in arrays if array is not None)


def read_packed(path: Path, key: str) -> dict[str, PackedLinear]:
    """The linears of a file, mapped; empty unless it is whole and has the ``key``."""
    try:
        raw = np.memmap(path, np.uint8, "c")
        header, first = _header(raw)
        if header["version"] != VERSION or header["key"] != key:
            return {}
        if len(raw) != first + header["size"]:
            return {}
        whole = torch.from_numpy(raw[first:])
        return {name: _linear(whole, entry) for name, entry in header["linears"].items()}
    except _NONSENSE:
        return {}


def read_origin(path: Path) -> Origin | None:
    """Of what a file was packed; ``None`` if it is no such file, or another version's."""
    try:
        header, _ = _header(np.memmap(path, np.uint8, "r"))
        if header["version"] != VERSION:
            return None
        return Origin(str(header["artifact"]), str(header["key"]))
    except _NONSENSE:
        return None


def is_packed(path: Path) -> bool:
    """Whether a file is one of packed weights, whole or not, of any version."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _header(raw: "np.memmap[Any, np.dtype[np.uint8]]") -> tuple[Any, int]:
    """The header, and where arrays begin. Raises one of ``_NONSENSE``."""
    start = len(_MAGIC) + 8
    if raw[: len(_MAGIC)].tobytes() != _MAGIC:
        raise ValueError("another kind of file")
    length = int.from_bytes(raw[len(_MAGIC) : start].tobytes(), "little")
    if length > min(len(raw), _LONGEST_HEADER):
        raise ValueError("a header that is longer than the file")
    header, end = raw[start : start + length].tobytes(), start + length + _DIGEST
    if hashlib.sha256(header).digest() != raw[start + length : end].tobytes():
        raise ValueError("a header that was changed")
    return json.loads(header), _up(end)


def _linear(whole: Tensor, entry: Mapping[str, Any]) -> PackedLinear:
    arrays = {kind: _array(whole, *entry[kind]) for kind in _ARRAYS if kind in entry}
    numbers = {number: int(entry[number]) for number in _NUMBERS}
    linear = PackedLinear(
        arrays["codes"],
        arrays["scales"],
        arrays.get("zeros"),
        levels=arrays.get("levels"),
        **numbers,
    )
    _check(linear)
    return linear


def _check(linear: PackedLinear) -> None:
    """Raise one of ``_NONSENSE`` for arrays that are not of a linear of that size."""
    rows, columns, group, bits = linear.rows, linear.columns, linear.group, linear.bits
    codes = (torch.uint8, (_native.packed_bytes(rows, columns, group, bits),))
    parameters = (-(-rows // PANEL), -(-columns // group), PANEL)
    scales = (_DTYPES["F32" if linear.scales.dtype == torch.float32 else "BF16"], parameters)
    expected = {"codes": codes, "scales": scales}
    if linear.zeros is not None:
        expected["zeros"] = (torch.uint8, parameters)
    if linear.levels is not None:
        expected["levels"] = (torch.float32, (1 << bits,))
    for kind, (dtype, shape) in expected.items():
        array: Tensor = getattr(linear, kind)
        if array.dtype != dtype or tuple(array.shape) != shape:
            raise ValueError(f"{kind} of another size")
    if not 0 <= linear.zero <= 255 or (linear.levels is not None and bits != 4):
        raise ValueError("codes that are out of range")


def _array(whole: Tensor, offset: int, name: str, shape: list[int]) -> Tensor:
    dtype = _DTYPES[name]
    size = int(np.prod(shape)) * dtype.itemsize
    if offset < 0 or offset % _ALIGNED or size < 0 or offset + size > len(whole):
        raise ValueError("an array that is not in the file")
    return whole[offset : offset + size].view(dtype).view(shape)


def _up(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED
