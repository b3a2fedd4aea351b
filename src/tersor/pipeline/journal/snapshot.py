"""Tensors in one file, written whole or not at all, and read back only if they are the same."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tersor.checkpoints.files import write_all, writing
from tersor.checkpoints.huggingface.safetensors_file import read_header
from tersor.checkpoints.output.layout import Layout
from tersor.checkpoints.source import TensorInfo
from tersor.errors import OutputError, SourceError

_PIECE = 1 << 23
_WORDS = 512


def write_snapshot(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file and return the digest of its values; it is not flushed yet.

    Raises :class:`OutputError`; then there is no file.
    """
    infos = [TensorInfo(name, t.dtype, tuple(t.shape)) for name, t in tensors.items()]
    layout = Layout(infos, {})
    digest = hashlib.blake2b(layout.header, digest_size=16)
    try:
        with writing(path), path.open("wb", buffering=0) as file:
            write_all(file.fileno(), memoryview(layout.header), 0)
            for name, offset in layout.offsets.items():
                values = _bytes_of(tensors[name])
                for start in range(0, len(values), _PIECE):
                    piece = values[start : start + _PIECE]
                    write_all(file.fileno(), piece, offset + start)
                    _add(digest, piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def make_durable(path: Path, name: Path) -> None:
    """Flush a file and give it its name. Raises :class:`OutputError`."""
    with writing(name):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.replace(name)


def read_snapshot(path: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of a file, mapped copy-on-write.

    Raises :class:`OutputError` if it is not the one that had this digest.
    """
    try:
        stored = read_header(path)
        tensors = {name: one.tensor() for name, one in stored.items()}
    except SourceError as error:
        raise _damaged(path) from error
    layout = Layout([one.info for one in stored.values()], {})
    found = hashlib.blake2b(layout.header, digest_size=16)
    for tensor in tensors.values():
        values = _bytes_of(tensor)
        for start in range(0, len(values), _PIECE):
            _add(found, values[start : start + _PIECE])
    if found.hexdigest() != digest:
        raise _damaged(path)
    return tensors


def _damaged(path: Path) -> OutputError:
    return OutputError(
        f"{path}: not what the run that ended had written; check the disk, and start anew with "
        "--force"
    )


def _add(digest: hashlib.blake2b, piece: memoryview) -> None:
    """A digest of the sums of 4 KiB each: as fast as memory, and no damaged page is overseen."""
    words = np.frombuffer(piece[: len(piece) // 8 * 8], np.uint64)
    whole = len(words) // _WORDS * _WORDS
    digest.update(words[:whole].reshape(-1, _WORDS).sum(1).tobytes())
    digest.update(piece[8 * whole :])


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
