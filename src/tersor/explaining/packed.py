"""Where the bits of one code lie in the tensor that is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedCode:
    """A code as it is stored.

    ``tensor``: name of the tensor; ``element``: the number of the word or byte in the weight's row;
    ``word``: that element in binary, highest bit first; ``lowest``, ``bits``: where in it the code
    begins, from the right, and what it is. ``offset``: what was added to the code, so that it is
    not negative.
    """

    tensor: str
    element: int
    dtype: str
    word: str
    lowest: int
    bits: str
    offset: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def packed_code(
    row: Mapping[str, Tensor], module: str, column: int, bits: int, code: int
) -> PackedCode | None:
    """The code of ``column`` in the tensors of one row, by suffix, each ``(1, …)``.

    ``code``: what it means. A code that spans two words is shown with both, the later one first.
    ``None`` for a storage that is not known here: nothing is claimed then.
    """
    suffix = "weight_packed" if "weight_packed" in row else "weight"
    if suffix not in row or row[suffix].ndim != 2:
        return None
    data = row[suffix]
    width, per = _widths(data.dtype, bits)
    if data.dtype.is_floating_point:
        data = data.view(torch.uint8)
    first = column * per
    words = range(first // width, (first + bits - 1) // width + 1)
    if words[-1] >= data.shape[1]:
        return None
    plain = [int(data[0, at]) & ((1 << width) - 1) for at in reversed(words)]
    word = "".join(f"{one:0{width}b}" for one in plain)
    lowest = first - words[0] * width
    found = word[len(word) - lowest - bits : len(word) - lowest]
    offset = _offset(int(found, 2), code, bits)
    if offset is None:
        return None
    dtype = str(row[suffix].dtype).removeprefix("torch.")
    return PackedCode(f"{module}.{suffix}", words[0], dtype, word, lowest, found, offset)


def _widths(dtype: torch.dtype, bits: int) -> tuple[int, int]:
    """Bits of an element, and how many of them a code takes."""
    width = dtype.itemsize * 8
    return width, (bits if width != 8 or bits == 4 else 8)


def _offset(stored: int, code: int, bits: int) -> int | None:
    """What was added to the code; two's complement adds nothing."""
    if stored == code or stored == code % (1 << bits):
        return 0
    half = 1 << (bits - 1)
    return half if stored == code + half else None
