"""Blocks of 32 values with a scale of their own, and perhaps a minimum.

Layouts: https://github.com/ggml-org/llama.cpp, ``ggml-common.h``; d and m are float16.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from tersor.grids import AffineGrid, IntegerGrid, ScaleFormat, Symmetry, fp4


class Q4_0(Blocks):  # noqa: N801 - llama.cpp's name
    """d, 32 codes of 4 bits: ``d·(q − 8)``."""

    name, grid, group = "Q4_0", IntegerGrid(4, Symmetry.SIGNED_SCALE), 32
    scale_format = ScaleFormat.FLOAT16

    def parameters(self, blocks: Bytes) -> Parameters:
        """d."""
        return Parameters(halves(blocks, 0).astype(np.float16))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q − 8."""
        return less(spread(blocks[:, 2:], 4), 8)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(half_bytes(parameters.scales), gathered(more(codes, 8), 4))


class Q4_1(Blocks):  # noqa: N801
    """d, m, 32 codes of 4 bits: ``d·q + m``."""

    name, grid, group = "Q4_1", AffineGrid(4), 32
    scale_format = ScaleFormat.FLOAT16

    def parameters(self, blocks: Bytes) -> Parameters:
        """d and m."""
        return Parameters(halves(blocks, 0).astype(np.float16), halves(blocks, 2))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return spread(blocks[:, 4:], 4)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(_scale_and_minimum(parameters), gathered(codes, 4))


class Q5_0(Blocks):  # noqa: N801
    """d, the fifth bits of 32 codes, their lower four: ``d·(q − 16)``."""

    name, grid, group = "Q5_0", IntegerGrid(5, Symmetry.SIGNED_SCALE), 32
    scale_format = ScaleFormat.FLOAT16

    def parameters(self, blocks: Bytes) -> Parameters:
        """d."""
        return Parameters(halves(blocks, 0).astype(np.float16))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q − 16."""
        return less(_five_bits(blocks[:, 2:6], blocks[:, 6:]), 16)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(half_bytes(parameters.scales), _fifth_and_lower(more(codes, 16)))


class Q5_1(Blocks):  # noqa: N801
    """d, m, the fifth bits of 32 codes, their lower four: ``d·q + m``."""

    name, grid, group = "Q5_1", AffineGrid(5), 32
    scale_format = ScaleFormat.FLOAT16

    def parameters(self, blocks: Bytes) -> Parameters:
        """d and m."""
        return Parameters(halves(blocks, 0).astype(np.float16), halves(blocks, 2))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return _five_bits(blocks[:, 4:8], blocks[:, 8:])

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(_scale_and_minimum(parameters), _fifth_and_lower(codes))


class Q8_0(Blocks):  # noqa: N801
    """d, 32 codes of 8 bits with a sign: ``d·q``."""

    name, grid, group = "Q8_0", IntegerGrid(8, Symmetry.FULL), 32
    scale_format = ScaleFormat.FLOAT16

    def parameters(self, blocks: Bytes) -> Parameters:
        """d."""
        return Parameters(halves(blocks, 0).astype(np.float16))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return np.ascontiguousarray(blocks[:, 2:]).view(np.int8)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(half_bytes(parameters.scales), codes.astype(np.int8).view(np.uint8))


class MXFP4(Blocks):
    """An exponent e, 32 codes of E2M1: ``2^(e − 127)`` times what the code stands for."""

    name, grid, group = "MXFP4", fp4(), 32
    scale_format = ScaleFormat.E8M0

    def parameters(self, blocks: Bytes) -> Parameters:
        """e."""
        return Parameters(blocks[:, :1])

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """The bits of E2M1."""
        return spread(blocks[:, 1:], 4)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(parameters.scales, gathered(codes, 4))


def _five_bits(fifth: Bytes, lower: Bytes) -> Bytes:
    high = np.unpackbits(np.ascontiguousarray(fifth), axis=1, bitorder="little")
    codes: Bytes = spread(lower, 4) | high << np.uint8(4)
    return codes


def _fifth_and_lower(codes: NDArray[Any]) -> Bytes:
    """Inverse of :func:`_five_bits`."""
    high = np.packbits(codes.astype(np.uint8) >> np.uint8(4), axis=1, bitorder="little")
    return joined(high, gathered(codes & 15, 4))


def _scale_and_minimum(parameters: Parameters) -> Bytes:
    scales, minima = parameters
    assert minima is not None
    return joined(half_bytes(scales), half_bytes(minima))
