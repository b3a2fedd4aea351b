"""K-quants: 256 values, in groups whose scales and minima are integers times float16 numbers.

Layouts: https://github.com/ggml-org/llama.cpp, ``ggml-common.h``. Products are those of float32,
rounded once, as llama.cpp has them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.formats.kinds.gguf.bits import (
    Bytes,
    Floats,
    gathered,
    half_bytes,
    halves,
    joined,
    less,
    more,
    spread,
)
from tersor.formats.kinds.gguf.block_type import Blocks, Parameters
from tersor.grids import AffineGrid, IntegerGrid, ScaleFormat, Symmetry
from tersor.grids.super_blocks import factored


class Q2_K(Blocks):  # noqa: N801 - llama.cpp's name
    """Scales and minima of 4 bits, codes of 2 bits, d, dmin."""

    name, grid, group = "Q2_K", AffineGrid(2), 16
    scale_format = ScaleFormat.U4

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·scale`` and ``−dmin·minimum``."""
        both = blocks[:, :16]
        return Parameters(
            halves(blocks, 80) * (both & 15).astype(np.float32),
            -(halves(blocks, 82) * (both >> 4).astype(np.float32)),
        )

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return spread(blocks[:, 16:80], 2, runs=2)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        d, scales, least, minima = _with_minima(parameters, 15)
        return joined(
            scales | minima << np.uint8(4),
            gathered(codes, 2, runs=2),
            half_bytes(d),
            half_bytes(least),
        )


class Q3_K(Blocks):  # noqa: N801
    """The third bits of the codes, their lower two, scales of 6 bits with a sign, d."""

    name, grid, group = "Q3_K", IntegerGrid(3, Symmetry.SIGNED_SCALE), 16
    scale_format = ScaleFormat.S6

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·(scale − 32)``."""
        low, high = spread(blocks[:, 96:104], 4), spread(blocks[:, 104:108], 2)
        scales = less(low | high << np.uint8(4), 32)
        return Parameters(halves(blocks, 108) * scales.astype(np.float32))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """The lower two bits, less 4 where the third is not set."""
        third = spread(blocks[:, :32], 1)
        return less(spread(blocks[:, 32:96], 2, runs=2) | third << np.uint8(2), 4)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        d, integers = factored(parameters.scales, -32, 31)
        scales, unsigned = more(integers, 32), more(codes, 4)
        return joined(
            gathered(unsigned >> np.uint8(2), 1),
            gathered(unsigned & 3, 2, runs=2),
            gathered(scales & 15, 4),
            gathered(scales >> np.uint8(4), 2),
            half_bytes(d),
        )


class Q4_K(Blocks):  # noqa: N801
    """d, dmin, scales and minima of 6 bits, codes of 4 bits."""

    name, grid, group = "Q4_K", AffineGrid(4), 32
    scale_format = ScaleFormat.U6

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·scale`` and ``−dmin·minimum``."""
        return _of_six_bits(blocks)

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return spread(blocks[:, 16:], 4, runs=4)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        return joined(_six_bits(parameters), gathered(codes, 4, runs=4))


class Q5_K(Blocks):  # noqa: N801
    """d, dmin, scales and minima of 6 bits, the fifth bits of the codes, their lower four."""

    name, grid, group = "Q5_K", AffineGrid(5), 32
    scale_format = ScaleFormat.U6

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·scale`` and ``−dmin·minimum``."""
        return _of_six_bits(blocks)

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q."""
        return spread(blocks[:, 48:], 4, runs=4) | spread(blocks[:, 16:48], 1) << np.uint8(4)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        fifth, lower = gathered(codes >> np.uint8(4), 1), gathered(codes & 15, 4, runs=4)
        return joined(_six_bits(parameters), fifth, lower)


class Q6_K(Blocks):  # noqa: N801
    """The lower four bits of the codes, their upper two, scales of 8 bits with a sign, d."""

    name, grid, group = "Q6_K", IntegerGrid(6, Symmetry.SIGNED_SCALE), 16
    scale_format = ScaleFormat.S8

    def parameters(self, blocks: Bytes) -> Parameters:
        """``d·scale``."""
        scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
        return Parameters(halves(blocks, 208) * scales.astype(np.float32))

    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """q − 32."""
        low, high = spread(blocks[:, :128], 4, runs=2), spread(blocks[:, 128:192], 2, runs=2)
        return less(low | high << np.uint8(4), 32)

    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """See :meth:`Blocks.encode`."""
        d, scales = factored(parameters.scales, -128, 127)
        unsigned = more(codes, 32)
        return joined(
            gathered(unsigned & 15, 4, runs=2),
            gathered(unsigned >> np.uint8(4), 2, runs=2),
            scales.astype(np.int8).view(np.uint8),
            half_bytes(d),
        )


def _of_six_bits(blocks: Bytes) -> Parameters:
    """Twelve bytes: lower bits of four scales, of four minima, then both of four more.

    The upper two bits of the last four are above the first ones.
    """
    scales, minima, more = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = joined(scales & 63, (more & 15) | (scales >> 6) << 4)
    minima = joined(minima & 63, (more >> 4) | (minima >> 6) << 4)
    return Parameters(
        halves(blocks, 0) * scales.astype(np.float32),
        -(halves(blocks, 2) * minima.astype(np.float32)),
    )


def _six_bits(parameters: Parameters) -> Bytes:
    """Inverse of :func:`_of_six_bits`."""
    d, scales, least, minima = _with_minima(parameters, 63)
    (low, high), (least_low, least_high) = ((of[:, :4], of[:, 4:]) for of in (scales, minima))
    four = np.uint8(4)
    return joined(
        half_bytes(d),
        half_bytes(least),
        low | high >> four << np.uint8(6),
        least_low | least_high >> four << np.uint8(6),
        (high & 15) | (least_high & 15) << four,
    )


def _with_minima(parameters: Parameters, highest: int) -> tuple[Floats, Bytes, Floats, Bytes]:
    """d, scales, dmin and minima: integers up to ``highest``."""
    assert parameters.minima is not None
    d, scales = factored(parameters.scales, 0, highest)
    least, minima = factored(-parameters.minima, 0, highest)
    return d, scales.astype(np.uint8), least, minima.astype(np.uint8)
