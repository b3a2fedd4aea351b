"""Quantized tensors of torch → weights as the native kernels read them."""

import numpy as np
import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids import (
    Granularity,
    Grid,
    IntegerGrid,
    QuantizedTensor,
    TensorScheme,
)
from tersor.grids.super_blocks import by_super_block, factored
from tersor.ranges import MinMax
from tersor.rounding.nearest import nearest
from tersor.runtime.linears.panels import (
    ACTIVATION_GROUP,
    Bytes,
    GroupNumbers,
    PackedLinear,
    pack_codes,
)

_CODEBOOK_BITS = 4


def has_kernel(grid: Grid) -> bool:
    """Whether weights on a grid have a kernel: integers, and tables of up to 16 levels."""
    return grid.integers is not None or grid.bits <= _CODEBOOK_BITS


def pack_linear(weight: QuantizedTensor, group: int | None = None) -> PackedLinear:
    """Pack a matrix ``(out, in)`` of integers of up to 8 bits, or of a codebook's up to 16 levels.

    ``group``: columns of a token that share a scale, where the weight has one scale per channel or
    tensor; by default all. A weight in groups decides that itself.

    Raises :class:`SchemeError` for other grids.
    """
    grid, integers, columns = weight.grid, weight.grid.integers, weight.shape[1]
    if not has_kernel(grid):
        raise SchemeError(f"no kernel for weights on the grid {grid.name}")
    size = min(weight.scheme.group_size or group or columns, columns)
    scales, threads = _numbers(weight.scale.value(), weight.scheme), torch.get_num_threads()
    if integers is None:
        levels = np.zeros(1 << _CODEBOOK_BITS, np.float32)
        levels[: len(grid.levels)] = grid.levels
        return pack_codes(
            weight.codes.numpy(),
            scales,
            None,
            zero=0,
            bits=_CODEBOOK_BITS,
            group=size,
            threads=threads,
            levels=levels,
        )
    given = weight.zero_point
    are_minima = grid.has_minima
    zeros = None if given is None or are_minima else _unsigned(given, integers.lowest)
    zero = integers.zero - integers.lowest
    if zeros is not None and (zeros == zeros.flat[0]).all():
        zero, zeros = int(zeros.flat[0]), None
    return pack_codes(
        _unsigned(weight.codes, integers.lowest),
        scales,
        zeros,
        minima=_numbers(given, weight.scheme) if given is not None and are_minima else None,
        zero=zero,
        bits=grid.bits,
        group=size,
        threads=threads,
    )


def eight_bits(weight: Tensor) -> PackedLinear:
    """A matrix ``(out, in)`` of any float type rounded to 8 bits, a float32 scale for each row.

    Raises :class:`~tersor.errors.NonFiniteWeight` if it holds NaN or infinity.
    """
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    return pack_linear(rounded, ACTIVATION_GROUP)


def _unsigned(codes: Tensor, lowest: int) -> Bytes:
    unsigned: Bytes = (codes.to(torch.int16) - lowest).to(torch.uint8).numpy()
    return unsigned


def _numbers(values: Tensor, scheme: TensorScheme) -> GroupNumbers:
    """Scales or minima ``(out, groups)``, exactly, in as few bytes as hold them."""
    if scheme.scale_format.levels is not None:
        return _steps(values, scheme)
    wide = values.float()
    narrow, half = wide.to(torch.bfloat16), wide.to(torch.float16)
    if torch.equal(narrow.float(), wide):
        return GroupNumbers(narrow.view(torch.uint16).contiguous().numpy())
    exact = half if torch.equal(half.float(), wide) else wide
    return GroupNumbers(exact.contiguous().numpy())


def _steps(values: Tensor, scheme: TensorScheme) -> GroupNumbers:
    """Products of two levels, taken apart."""
    assert scheme.scale_format.levels is not None
    parts = by_super_block(scheme, values.float())
    rows, blocks, together = parts.shape
    lowest, highest = scheme.scale_format.levels
    d, steps = factored(parts.reshape(-1, together).numpy(), lowest, highest)
    half = d.astype(np.float16).reshape(rows, blocks)
    return GroupNumbers(half, steps.astype(np.int8).reshape(rows, -1))
