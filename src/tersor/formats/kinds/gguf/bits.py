"""Fields of blocks ``(blocks, bytes)``, uint8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def halves(blocks: Bytes, first: int) -> Floats:
    """The float16 number at a byte of every block, float32 ``(blocks, 1)``."""
    return np.ascontiguousarray(blocks[:, first : first + 2]).view("<f2").astype(np.float32)


def spread(field: Bytes, bits: int, runs: int = 1) -> Bytes:
    """Codes of ``bits`` bits that share bytes: first the lowest bits of all bytes of a run, ….

    ``field``: ``(blocks, bytes)``, each block's in so many ``runs`` of equal length. Returns
    ``(blocks, codes)``.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = field.reshape(len(field), runs, 1, -1) >> shifts
    codes: Bytes = (parts & np.uint8((1 << bits) - 1)).reshape(len(field), -1)
    return codes


def less(codes: Bytes, zero: int) -> NDArray[np.int8]:
    """Unsigned codes less ``zero``."""
    return codes.astype(np.int8) - np.int8(zero)


def joined(*parts: NDArray[Any]) -> NDArray[Any]:
    """Parts ``(blocks, some)`` beside each other."""
    return np.concatenate(parts, axis=1)
