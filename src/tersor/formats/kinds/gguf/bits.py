"""Fields of blocks ``(blocks, bytes)``, uint8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import SchemeError

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


def gathered(codes: NDArray[Any], bits: int, runs: int = 1) -> Bytes:
    """Inverse of :func:`spread`: codes ``(blocks, codes)`` → ``(blocks, bytes)``."""
    per_byte = 8 // bits
    parts = codes.astype(np.uint8).reshape(len(codes), runs, per_byte, -1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    field: Bytes = np.bitwise_or.reduce(parts << shifts, axis=2).reshape(len(codes), -1)
    return field


def half_bytes(numbers: NDArray[Any]) -> Bytes:
    """Inverse of :func:`halves`: numbers ``(blocks, 1)`` → ``(blocks, 2)``.

    Raises :class:`SchemeError` unless float16 holds each.
    """
    with np.errstate(over="ignore"):
        narrow = numbers.astype("<f2")
    lost = narrow.astype(np.float32) != numbers
    if lost.any():
        raise SchemeError(f"float16 does not hold a scale or minimum of {numbers[lost][0]:.6g}")
    return narrow.view(np.uint8)


def more(codes: NDArray[Any], zero: int) -> Bytes:
    """Inverse of :func:`less`."""
    unsigned: Bytes = (codes.astype(np.int16) + zero).astype(np.uint8)
    return unsigned


def joined(*parts: NDArray[Any]) -> NDArray[Any]:
    """Parts ``(blocks, some)`` beside each other."""
    return np.concatenate(parts, axis=1)
