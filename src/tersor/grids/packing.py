"""Dense bit packing of codes: the fast path is native, the reference is below it.

Code ``i`` of a row occupies bits ``[i·b, (i+1)·b)`` of the row's stream of little-endian 32-bit
words; the last word is padded with zeros. This is compressed-tensors' ``pack-quantized`` layout for
every width.
"""

import numpy as np
import torch
from torch import Tensor

from tersor import _native
from tersor.errors import FormatError


def packed_columns(columns: int, bits: int) -> int:
    """32-bit words that one row of codes takes."""
    return -(-columns * bits // 32)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack unsigned codes ``(rows, columns)`` uint8 into words ``(rows, packed_columns)`` int32."""
    words = torch.empty(codes.shape[0], packed_columns(codes.shape[1], bits), dtype=torch.int32)
    _native.pack(codes.contiguous().numpy(), words.numpy().view(np.uint32), bits)
    return words


def unpack(words: Tensor, bits: int, columns: int) -> Tensor:
    """Inverse of :func:`pack`: uint8 ``(rows, columns)``.

    Raises :class:`FormatError` if the words are not as many as that many columns need.
    """
    if words.ndim != 2 or words.shape[1] != packed_columns(columns, bits):
        raise FormatError(
            f"packed codes of shape {tuple(words.shape)} do not hold "
            f"{columns} columns of {bits} bits"
        )
    codes = torch.empty(words.shape[0], columns, dtype=torch.uint8)
    _native.unpack(words.contiguous().numpy().view(np.uint32), codes.numpy(), bits)
    return codes


def pack_reference(codes: Tensor, bits: int) -> Tensor:
    """What :func:`pack` computes, bit by bit."""
    rows, columns = codes.shape
    stream = np.zeros((rows, packed_columns(columns, bits) * 32), dtype=np.uint8)
    for bit in range(bits):
        stream[:, bit : columns * bits : bits] = (codes.numpy() >> bit) & 1
    packed = np.packbits(stream, axis=1, bitorder="little")
    return torch.from_numpy(packed.view("<u4").astype(np.uint32).view(np.int32))
