"""Safetensors files: the header checked by the safetensors package, each tensor mapped by itself.

The package maps the whole file, and any tensor it returns keeps all of it mapped. A final norm
that waits in a writer's buffer would then keep every page of its block in resident memory
(measured: reading a 2 GB file block by block and keeping one small tensor of each block peaks at
2.1 GB above the start, and 0.16 GB when each tensor has its own mapping). So the package decides
whether the header is sound, and each tensor is mapped with its own extent.
"""

import json
import mmap
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tersor.checkpoints.files import reading, refuse_lfs_pointer
from tersor.checkpoints.source import TensorInfo
from tersor.errors import SourceError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: ``info.nbytes`` bytes from ``offset`` in ``path``."""

    info: TensorInfo
    path: Path
    offset: int


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file in the order of their bytes; no values are read.

    Raises:
        SourceError: missing, truncated, garbage, an unsupported dtype, or a Git LFS pointer.
    """
    from safetensors import SafetensorError, safe_open

    refuse_lfs_pointer(path)
    try:
        with reading(path), safe_open(str(path), framework="pt") as file:
            names = list(file.offset_keys())
    except SafetensorError as error:
        raise SourceError(
            f"{path}: not a sound safetensors file ({error}); download it again"
        ) from error
    with reading(path), path.open("rb") as raw:
        length = int.from_bytes(raw.read(_LENGTH_BYTES), "little")
        # The package accepts a name twice and takes the last; other readers may take the first.
        header = json.loads(raw.read(length), object_pairs_hook=partial(_unique, path))
    start = _LENGTH_BYTES + length
    return {name: _stored(path, name, header[name], start) for name in names}


def map_tensor(stored: StoredTensor) -> Tensor:
    """The tensor, mapped copy-on-write from its file: pages are resident once touched.

    The mapping ends with the tensor's storage.

    Raises:
        SourceError: the file became unreadable or shorter since its header was read.
    """
    info = stored.info
    if info.nbytes == 0:
        return torch.empty(info.shape, dtype=info.dtype)
    try:
        with reading(stored.path):
            raw = _mapped(stored.path, stored.offset, info.nbytes)
    except ValueError as error:
        raise SourceError(
            f"{stored.path}: changed while it was being read (tensor {info.name!r})"
        ) from error
    values = torch.from_numpy(raw)
    # The format does not promise alignment, torch's kernels want it.
    if stored.offset % info.dtype.itemsize:
        values = values.clone()
    return values.view(info.dtype).reshape(info.shape)


def _mapped(path: Path, offset: int, nbytes: int) -> NDArray[np.uint8]:
    """Bytes of a file, copy-on-write. Raises :class:`ValueError` if it ends before them.

    Not ``np.memmap``, which asks for the state of every directory on the way, for every tensor.
    """
    before = offset % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        mapped = mmap.mmap(
            file.fileno(), before + nbytes, access=mmap.ACCESS_COPY, offset=offset - before
        )
    return np.frombuffer(mapped, np.uint8, nbytes, before)


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise SourceError(f"{path}: the header names a tensor twice; do not trust this file")
    return value


def _stored(path: Path, name: str, entry: dict[str, Any], start: int) -> StoredTensor:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise SourceError(f"{path}: tensor {name!r} has the unsupported dtype {entry['dtype']}")
    info = TensorInfo(name, dtype, tuple(entry["shape"]))
    return StoredTensor(info, path, start + entry["data_offsets"][0])
