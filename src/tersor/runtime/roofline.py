"""What this machine can do at most: bytes read and products of int8 per second."""

from dataclasses import dataclass

import torch

from tersor import _native
from tersor.instructions import level

_TIMES = 5


@dataclass(frozen=True)
class Roofline:
    """``bandwidth``: bytes per second of reading; ``products``: int8 multiply-adds per second."""

    bandwidth: float
    products: float


def roofline(size: int, threads: int) -> Roofline:
    """Measure both, the best of several times; ``size``: bytes that are read, as often as needed.

    What fits the caches is read from there, as a model of that size is.
    """
    buffer = torch.ones(max(size, 1 << 20), dtype=torch.uint8).numpy()
    reads = [_native.read_seconds(buffer, threads) for _ in range(_TIMES)]
    counts = [_native.products_per_second(level(), threads) for _ in range(_TIMES)]
    return Roofline(buffer.nbytes / min(reads), max(counts))
