"""Blocks whose codes of 4 bits stand for integers of a table.

Their values are those integers times scales, so they are integers of 8 bits to everybody here.
Layouts and table: https://github.com/ggml-org/llama.cpp, ``ggml-common.h``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import SchemeError
from tersor.formats.kinds.gguf.bits import (
    Bytes,
    gathered,
    half_bytes,
    halves,
    joined,
    less,
    more,
    spread,
)
from tersor.formats.kinds.gguf.block_type import Blocks, Parameters
from tersor.grids import IntegerGrid, ScaleFormat, Symmetry
from tersor.grids.super_blocks import factored

_LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


class IQ4_NL(Blocks):  # noqa: N801 - llama.cpp's name
    """d, 32 codes: ``d·level``."""

    name, grid, group = "IQ4_NL", IntegerGrid(8, Symmetry.FULL), 32

    def parameters(self, blocks: Bytes) -> Parameters:
        """d."""
        return Parameters(halves(blocks, 0).astype(np.float16))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """The levels."""
        return _levels(spread(blocks[:, 2:], 4))

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(half_bytes(parameters.scales), gathered(_places(codes), 4))


class IQ4_XS(Blocks):  # noqa: N801
    """d, the upper two and the lower four bits of eight scales with a sign, 256 codes."""

    name, grid, group = "IQ4_XS", IntegerGrid(8, Symmetry.FULL), 32
    scale_format = ScaleFormat.S6

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·(scale − 32)``."""
        high, low = spread(blocks[:, 2:4], 2, runs=2), spread(blocks[:, 4:8], 4, runs=4)
        scales = less(low | high << np.uint8(4), 32)
        return Parameters(halves(blocks, 0) * scales.astype(np.float32))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """The levels."""
        return _levels(spread(blocks[:, 8:], 4, runs=8))

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        d, integers = factored(parameters.scales, -32, 31)
        scales = more(integers, 32)
        return joined(
            half_bytes(d),
            gathered(scales >> np.uint8(4), 2, runs=2),
            gathered(scales & 15, 4, runs=4),
            gathered(_places(codes), 4, runs=8),
        )


def _levels(codes: Bytes) -> NDArray[np.int8]:
    return np.array(_LEVELS, np.int8)[codes]


def _places(levels: NDArray[Any]) -> Bytes:
    """Inverse of :func:`_levels`. Raises :class:`SchemeError` for integers that are no level."""
    table = np.array(_LEVELS, np.int8)
    places = np.searchsorted(table, levels).clip(max=len(table) - 1)
    if not np.array_equal(table[places], levels):
        raise SchemeError("its codes are no levels of IQ4")
    return places.astype(np.uint8)
