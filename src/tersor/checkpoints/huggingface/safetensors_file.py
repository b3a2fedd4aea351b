"""Safetensors files: the header checked by the safetensors package, each tensor mapped by itself.

The package maps the whole file, and any tensor it returns keeps all of it mapped. A final norm
that waits in a writer's buffer would then keep every page of its block in resident memory
(measured: reading a 2 GB file block by block and keeping one small tensor of each block peaks at
2.1 GB above the start, and 0.16 GB when each tensor has its own mapping). So the package decides
whether the header is sound, and each tensor is mapped with its own extent.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.files import map_bytes, reading, refuse_lfs_pointer
from tersor.checkpoints.source import TensorInfo
from tersor.errors import SourceError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# What torch calls each type, and numpy; where numpy has none, the bits of its values.
_TYPES = {
    "F64": ("float64", np.float64),
    "F32": ("float32", np.float32),
    "F16": ("float16", np.float16),
    "BF16": ("bfloat16", np.uint16),
    "F8_E4M3": ("float8_e4m3fn", np.uint8),
    "F8_E5M2": ("float8_e5m2", np.uint8),
    "F8_E8M0": ("float8_e8m0fnu", np.uint8),
    "I64": ("int64", np.int64),
    "I32": ("int32", np.int32),
    "I16": ("int16", np.int16),
    "I8": ("int8", np.int8),
    "U64": ("uint64", np.uint64),
    "U32": ("uint32", np.uint32),
    "U16": ("uint16", np.uint16),
    "U8": ("uint8", np.uint8),
    "BOOL": ("bool", np.bool_),
    "C64": ("complex64", np.complex64),
}
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies: ``nbytes`` bytes from ``offset`` in ``path``.

    ``kind``: the type of its values as the format calls it (``BF16``, ``F32``, ``U8``).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return prod(self.shape) * self._numpy.itemsize

    @property
    def info(self) -> TensorInfo:
        """Name, torch's type and shape."""
        return TensorInfo(self.name, self._torch, self.shape)

    @property
    def _numpy(self) -> "np.dtype[Any]":
        return np.dtype(_TYPES[self.kind][1])

    @property
    def _torch(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, _TYPES[self.kind][0])
        return dtype

    def array(self) -> NDArray[Any]:
        """The values, mapped copy-on-write from the file; as bits where numpy has no such type.

        Raises:
            SourceError: the file became unreadable or shorter since its header was read.
        """
        return self._bytes().view(self._numpy).reshape(self.shape)

    def floats(self) -> NDArray[Any] | None:
        """Values in float32, or the bits of bfloat16; ``None`` if they are no floats of a model."""
        if self.kind == "BF16":
            return self.array()
        if self.kind in ("F64", "F32", "F16"):
            return self.array().astype(np.float32, copy=False)
        return None

    def tensor(self) -> "Tensor":
        """The same for torch. The mapping ends with the tensor's storage."""
        import torch

        if self.nbytes == 0:
            return torch.empty(self.shape, dtype=self._torch)
        return torch.from_numpy(self._bytes()).view(self._torch).reshape(self.shape)

    def _bytes(self) -> NDArray[np.uint8]:
        """Pages are resident once touched."""
        if self.nbytes == 0:
            return np.empty(0, np.uint8)
        try:
            with reading(self.path):
                raw = map_bytes(self.path, self.offset, self.nbytes)
        except ValueError as error:
            raise SourceError(
                f"{self.path}: changed while it was being read (tensor {self.name!r})"
            ) from error
        # The format does not promise alignment, kernels want it.
        return raw.copy() if self.offset % self._numpy.itemsize else raw


def kind_of(dtype: "torch.dtype") -> str:
    """What the format calls a type of torch."""
    name = str(dtype).removeprefix("torch.")
    return next(kind for kind, (known, _) in _TYPES.items() if known == name)


class Described(Protocol):
    """Anything that knows what is stored of it."""

    @property
    def info(self) -> TensorInfo:
        """Name, torch's type and shape."""


class Infos(Mapping[str, TensorInfo]):
    """``Source.tensors``; torch is needed for values, not for names."""

    def __init__(self, stored: Mapping[str, Described]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> TensorInfo:
        return self._stored[name].info

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file in the order of their bytes; no values are read.

    Raises:
        SourceError: missing, truncated, garbage, an unsupported dtype, or a Git LFS pointer.
    """
    from safetensors import SafetensorError, safe_open

    refuse_lfs_pointer(path)
    try:
        with reading(path), safe_open(str(path), framework="np") as file:
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


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise SourceError(f"{path}: the header names a tensor twice; do not trust this file")
    return value


def _stored(path: Path, name: str, entry: dict[str, Any], start: int) -> StoredTensor:
    kind = entry["dtype"]
    if kind not in _TYPES:
        raise SourceError(f"{path}: tensor {name!r} has the unsupported dtype {kind}")
    return StoredTensor(name, kind, tuple(entry["shape"]), path, start + entry["data_offsets"][0])
