"""Native linears: packed weights times activations, which are quantized on the way or not.

:func:`linear`: activations become int8 codes per token and group; products and sums are exact
integers, scaled in float32 (``native/kernels/packed_weights.hpp``). Weights of
:func:`float_linear` are decoded on the way, and all else is float32 (``float_weights.hpp``). The
level of instructions is :func:`tersor.machine.instructions.level`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tersor import _native
from tersor.errors import SchemeError
from tersor.grids import Grid, QuantizedTensor
from tersor.machine.instructions import level

# Columns of a token that share a scale where the weight does not say: few enough for a token's
# largest value not to drown the others.
ACTIVATION_GROUP = 64
PANEL = 16
_CODEBOOK_BITS = 4
_Codes: TypeAlias = NDArray[np.uint8]
_Scales: TypeAlias = NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """A weight ``(rows, columns)`` as the kernels read it.

    ``codes``: uint8, panels of 16 rows. ``scales``: ``(panels, groups, 16)``, bfloat16 or float32;
    ``zeros``: likewise, uint8, or ``None`` if ``zero`` is every group's. ``group``: columns that
    share a scale, of weights and of activations. ``levels``: float32 ``(16,)``, what the codes of a
    codebook stand for; ``None`` if they are integers.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    zero: int
    rows: int
    columns: int
    group: int
    bits: int
    levels: Tensor | None = None

    def native_scales(self) -> _Scales:
        """``scales`` as native code takes them: bfloat16 as its bits."""
        narrow = self.scales.dtype == torch.bfloat16
        return (self.scales.view(torch.uint16) if narrow else self.scales).numpy()

    def native(self) -> tuple[_Codes, _Scales, _Codes | None, int, int, int]:
        """Codes, scales, zeros, zero, group and bits, as the native linears take them."""
        zeros = None if self.zeros is None else self.zeros.numpy()
        return (
            self.codes.numpy(),
            self.native_scales(),
            zeros,
            self.zero,
            self.group,
            self.bits,
        )


class FixedInput(NamedTuple):
    """Activations that become ``clip(round(x / scale) + zero)``, from ``lowest`` to 127.

    ``zero`` and ``lowest`` are int8 codes.
    """

    scale: float
    zero: int
    lowest: int


def has_kernel(grid: Grid) -> bool:
    """Whether weights on a grid have a kernel: integers, and tables of up to 16 levels."""
    return grid.integers is not None or grid.bits <= _CODEBOOK_BITS


def pack_linear(weight: QuantizedTensor, group: int | None = None) -> PackedLinear:
    """Pack a matrix ``(out, in)`` of integers of up to 8 bits, or of a codebook's up to 16 levels.

    ``group``: columns of a token that share a scale, where the weight has one scale per channel or
    tensor; by default all. A weight in groups decides that itself.

    Raises :class:`SchemeError` for other grids.
    """
    grid, integers = weight.grid, weight.grid.integers
    if not has_kernel(grid):
        raise SchemeError(f"no kernel for weights on the grid {grid.name}")
    if integers is None:
        levels = torch.zeros(1 << _CODEBOOK_BITS)
        levels[: len(grid.levels)] = torch.tensor(grid.levels)
        packed = _packed(weight, weight.codes, _CODEBOOK_BITS, 0, None, group)
        return replace(packed, levels=levels)
    unsigned = (weight.codes.to(torch.int16) - integers.lowest).to(torch.uint8)
    zeros = weight.zero_point
    return _packed(
        weight,
        unsigned,
        grid.bits if grid.bits in (2, 3, 4) else 8,
        integers.zero - integers.lowest,
        None if zeros is None else (zeros.to(torch.int16) - integers.lowest).to(torch.uint8),
        group,
    )


def _packed(
    weight: QuantizedTensor,
    codes: Tensor,
    bits: int,
    zero: int,
    zeros: Tensor | None,
    group: int | None,
) -> PackedLinear:
    """uint8 ``codes (out, in)`` of ``bits`` bits with the scales of ``weight``.

    ``zero`` and ``zeros``, uint8 and shaped as scales are: the codes of 0.
    """
    rows, columns = weight.shape
    size = min(weight.scheme.group_size or group or columns, columns)
    groups = -(-columns // size)
    packed = torch.empty(_native.packed_bytes(rows, columns, size, bits), dtype=torch.uint8)
    _native.pack_panels(
        codes.contiguous().numpy(), packed.numpy(), size, bits, torch.get_num_threads()
    )
    scale = weight.scale.value()
    narrow = scale.to(torch.bfloat16)
    return PackedLinear(
        packed,
        panels(narrow if torch.equal(narrow.float(), scale) else scale, rows, groups),
        None if zeros is None else panels(zeros, rows, groups),
        zero,
        rows,
        columns,
        size,
        bits,
    )


def linear(x: Tensor, packed: PackedLinear, fixed: FixedInput | None = None) -> Tensor:
    """``x Wᵀ``: ``(…, in)`` of any float type → ``(…, out)`` float32, on torch's threads.

    ``fixed``: how activations become codes, if not by their own range; its zero is not taken away.
    What is not finite in a token makes that token's outputs not finite.

    Raises :class:`SchemeError` for a codebook, which has no integers to multiply.
    """
    if packed.levels is not None:
        raise SchemeError("a codebook has no kernel for int8 activations")
    rows = x.reshape(-1, packed.columns).float().contiguous()
    y = torch.empty(len(rows), packed.rows)
    _native.linear(
        level(),
        rows.numpy(),
        *packed.native(),
        fixed,
        y.numpy(),
        torch.get_num_threads(),
    )
    return y.reshape(*x.shape[:-1], packed.rows)


def float_linear(x: Tensor, packed: PackedLinear) -> Tensor:
    """The same with activations as they are: nothing is rounded but float32 sums."""
    rows = x.reshape(-1, packed.columns).float().contiguous()
    y = torch.empty(len(rows), packed.rows)
    _native.float_linear(
        level(),
        rows.numpy(),
        *packed.native(),
        None if packed.levels is None else packed.levels.numpy(),
        y.numpy(),
        torch.get_num_threads(),
    )
    return y.reshape(*x.shape[:-1], packed.rows)


def panels(parameter: Tensor, rows: int, columns: int) -> Tensor:
    """``(rows or 1, columns or 1)`` → ``(panels, columns, 16)``; rows that are missing hold 0."""
    count = -(-rows // PANEL)
    whole = torch.zeros(count * PANEL, columns, dtype=parameter.dtype)
    whole[:rows] = parameter
    return whole.view(count, PANEL, columns).transpose(1, 2).contiguous()
