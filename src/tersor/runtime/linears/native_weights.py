"""Linears in the forms that the native decoder runs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor import _native
from tersor.runtime.linears.panels import Floats, PackedLinear, panels, with_zero


def packed_weights(
    packed: PackedLinear, integer: bool, bias: Floats | None, threads: int
) -> tuple[_native.Weights, int]:
    """A packed linear in native form, and the bytes that are read of it.

    ``integer``: round activations to int8. ``bias``: ``(out,)``.
    """
    made = _native.Weights.packed(
        codes=packed.codes,
        scales=packed.scales,
        zeros=packed.zeros,
        zero=packed.zero,
        rows=packed.rows,
        columns=packed.columns,
        group=packed.group,
        bits=packed.bits,
        integer=integer,
        fixed=packed.fixed,
        levels=packed.levels,
        bias=with_zero(packed, packed.fixed, bias, threads),
        minima=packed.minima,
    )
    return made, packed.nbytes


def dense_weights(weight: NDArray[Any], bias: Floats | None) -> tuple[_native.Weights, int]:
    """A matrix ``(out, in)``, float32 or bits of bfloat16, in native form, and its bytes."""
    assert weight.dtype in (np.uint16, np.float32)
    rows = panels(weight, *weight.shape)
    return _native.Weights.dense(rows, weight.shape[0], bias), rows.nbytes
