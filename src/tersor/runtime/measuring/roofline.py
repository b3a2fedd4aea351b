"""What this machine can do at most: bytes read and products of int8 per second."""

import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.machine.instructions import level

_TIMES = 5
# Lines that are fetched beforehand; which is best differs from machine to machine.
_AHEAD = (0, 16, 64)


@dataclass(frozen=True)
class Roofline:
    """``bandwidth``: bytes per second of reading; ``products``: int8 multiply-adds per second."""

    bandwidth: float
    products: float


def roofline(size: int, threads: int) -> Roofline:
    """Measure both, the best of several times; ``size``: bytes that are read, as often as needed.

    What fits the caches is read from there, as a model of that size is.
    """
    buffer = _written(max(size, 1 << 20))
    reads = [
        _native.read_seconds(buffer, threads, ahead) for ahead in _AHEAD for _ in range(_TIMES)
    ]
    counts = [_native.products_per_second(level(), threads) for _ in range(_TIMES)]
    return Roofline(buffer.nbytes / min(reads), max(counts))


def _written(size: int) -> NDArray[np.uint8]:
    """Memory in large pages where there are such, as those of a mapped file may be too."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    buffer = np.frombuffer(memory, np.uint8)
    buffer.fill(1)
    return buffer
