"""Linears in the forms that the native decoder runs."""

import numpy as np
import torch
from torch import Tensor

from tersor import _native
from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding.nearest import nearest
from tersor.runtime.linears.kernels import (
    ACTIVATION_GROUP,
    FixedInput,
    PackedLinear,
    pack_linear,
    panels,
)
from tersor.runtime.linears.static_input import with_zero


def eight_bits(weight: Tensor) -> PackedLinear:
    """A matrix ``(out, in)`` of any float type rounded to 8 bits, a float32 scale for each row.

    Raises :class:`~tersor.errors.NonFiniteWeight` if it holds NaN or infinity.
    """
    scheme = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
    rounded = nearest(weight, scheme, MinMax(), scale_dtype=torch.float32).tensor
    return pack_linear(rounded, ACTIVATION_GROUP)


def packed_weights(
    packed: PackedLinear,
    integer: bool,
    fixed: FixedInput | None,
    bias: "np.typing.NDArray[np.float32] | None",
) -> tuple[_native.Weights, int]:
    """A packed linear in native form, and the bytes that are read of it.

    ``integer``: round activations to int8. ``bias``: ``(out,)``.
    """
    shifted = with_zero(packed, fixed, None if bias is None else torch.from_numpy(bias))
    made = _native.Weights.packed(
        packed.codes.numpy(),
        packed.native_scales(),
        None if packed.zeros is None else packed.zeros.numpy(),
        packed.zero,
        packed.rows,
        packed.columns,
        packed.group,
        packed.bits,
        integer,
        fixed,
        None if packed.levels is None else packed.levels.numpy(),
        None if shifted is None else shifted.numpy(),
    )
    zeros = 0 if packed.zeros is None else packed.zeros.nbytes
    return made, packed.codes.nbytes + packed.scales.nbytes + zeros


def dense_weights(
    weight: Tensor, bias: "np.typing.NDArray[np.float32] | None"
) -> tuple[_native.Weights, int]:
    """A matrix ``(out, in)``, bfloat16 or float32, in native form, and its bytes."""
    rows = panels(weight, *weight.shape)
    if rows.dtype == torch.bfloat16:
        rows = rows.view(torch.uint16)
    return _native.Weights.dense(rows.numpy(), weight.shape[0], bias), rows.nbytes
