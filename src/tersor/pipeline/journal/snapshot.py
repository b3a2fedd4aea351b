"""Tensors in one file, written whole or not at all, and read back only if they are the same."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tersor.checkpoints.files import write_all, writing
from tersor.checkpoints.huggingface.safetensors_file import read_header
from tersor.checkpoints.output.layout import Layout
from tersor.checkpoints.source import TensorInfo
from tersor.errors import OutputError, SourceError
from tersor.machine.parallel import in_order

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

            def write(job: tuple[memoryview, int]) -> bytes:
                write_all(file.fileno(), *job)
                return _sums(job[0])

            places = layout.offsets.items()
            jobs = (job for name, at in places for job in _pieces(_bytes_of(tensors[name]), at))
            for sums in in_order(write, jobs):
                digest.update(sums)
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
    pieces = (piece for t in tensors.values() for piece, _ in _pieces(_bytes_of(t), 0))
    for sums in in_order(_sums, pieces):
        found.update(sums)
    if found.hexdigest() != digest:
        raise _damaged(path)
    return tensors


def _damaged(path: Path) -> OutputError:
    return OutputError(
        f"{path}: not what the run that ended had written; check the disk, and start anew with "
        "--force"
    )


def _pieces(values: memoryview, offset: int) -> Iterator[tuple[memoryview, int]]:
    """Parts of a tensor's bytes, and where each lies in the file."""
    for start in range(0, len(values), _PIECE):
        yield values[start : start + _PIECE], offset + start


def _sums(piece: memoryview) -> bytes:
    """Of 4 KiB each: as fast as memory, and no damaged page is overseen."""
    words = np.frombuffer(piece[: len(piece) // 8 * 8], np.uint64)
    whole = len(words) // _WORDS * _WORDS
    return bytes(words[:whole].reshape(-1, _WORDS).sum(1).tobytes() + piece[8 * whole :])


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
