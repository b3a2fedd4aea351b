"""Packed weights in a file that is mapped, not read.

``TERSORPK``, the header's length (8 bytes, little-endian), the header (JSON), and arrays at
multiples of 64 bytes, where the kernels want them. A private format: files of another version, or
that are not whole, are as if they were not there.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.runtime.kernels import PackedLinear

VERSION = 3
_MAGIC = b"TERSORPK"
_ALIGNED = 64
_DTYPES = {"U8": torch.uint8, "BF16": torch.bfloat16, "F32": torch.float32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ARRAYS = ("codes", "scales", "zeros", "levels")
_NUMBERS = ("zero", "rows", "columns", "group", "bits")


def write_packed(path: Path, linears: Mapping[str, PackedLinear]) -> None:
    """Write a file, at once or not at all. Raises :class:`OSError`."""
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
    header = json.dumps({"version": VERSION, "size": offset, "linears": entries}).encode()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".packing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + header)
            file.write(bytes(_up(file.tell()) - file.tell()))
            for array in arrays:
                file.write(array.contiguous().view(torch.uint8).numpy().data)
                file.write(bytes(_up(file.tell()) - file.tell()))
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def read_packed(path: Path) -> dict[str, PackedLinear]:
    """The linears of a file, mapped; empty if it is none of this version, or not whole."""
    try:
        raw = np.memmap(path, np.uint8, "c")
    except (OSError, ValueError):
        return {}
    start = len(_MAGIC) + 8
    if len(raw) < start or raw[: len(_MAGIC)].tobytes() != _MAGIC:
        return {}
    length = int.from_bytes(raw[len(_MAGIC) : start].tobytes(), "little")
    try:
        header = json.loads(raw[start : start + length].tobytes())
        first = _up(start + length)
        if header["version"] != VERSION or len(raw) != first + header["size"]:
            return {}
        whole = torch.from_numpy(raw[first:])
        return {name: _linear(whole, entry) for name, entry in header["linears"].items()}
    except (ValueError, KeyError, TypeError, RuntimeError):
        return {}


def _linear(whole: Tensor, entry: Mapping[str, Any]) -> PackedLinear:
    arrays = {kind: _array(whole, *entry[kind]) for kind in _ARRAYS if kind in entry}
    numbers = {number: int(entry[number]) for number in _NUMBERS}
    return PackedLinear(
        arrays["codes"],
        arrays["scales"],
        arrays.get("zeros"),
        levels=arrays.get("levels"),
        **numbers,
    )


def _array(whole: Tensor, offset: int, name: str, shape: list[int]) -> Tensor:
    dtype = _DTYPES[name]
    size = int(np.prod(shape)) * dtype.itemsize
    return whole[offset : offset + size].view(dtype).view(shape)


def _up(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED
