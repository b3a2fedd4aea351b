"""Quantized linears as MLX has them: unsigned codes, scales, and the value of code 0 (biases)."""

from dataclasses import replace

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.formats.linear import QuantizedLinear
from tersor.formats.storage.kind import as_unsigned, unsigned_zeros
from tersor.grids import AffineGrid, QuantizedTensor, ScaleFormat, Scheme, StoredScale


def as_affine(linear: QuantizedLinear) -> QuantizedLinear:
    """The same numbers as ``s·q + m``; scales have a type that holds the minima too.

    Raises :class:`SchemeError` if float32 is not enough for that.
    """
    weight, bits = linear.weight, linear.weight.grid.bits
    scale = weight.scale.data
    if weight.grid.has_minima:
        assert weight.zero_point is not None
        minima = weight.zero_point
    else:
        minima = scale.float() * -unsigned_zeros(weight).float()
    wide = _is_wide(scale, minima) or not _centred(linear)
    data = StoredScale(scale.float() if wide else scale, ScaleFormat.FLOAT)
    weights = replace(weight.scheme, grid=AffineGrid(bits), scale_format=ScaleFormat.FLOAT)
    codes = as_unsigned(weight.codes, bits)
    made = QuantizedTensor(codes, data, minima, weights)
    # Products of 16-bit scales and codes are exact in float32, and so is their sum.
    if scale.dtype is torch.float32 and not torch.equal(made.dequantize(), weight.dequantize()):
        raise SchemeError(
            "MLX adds zero points times scales to codes times scales, which float32 rounds where "
            "scales are float32 too; choose compressed-tensors, or quantize with --format mlx"
        )
    return QuantizedLinear(made, Scheme(weights))


def _centred(linear: QuantizedLinear) -> bool:
    """Whether minima have the type of the scales by their scheme, as plans count them."""
    return linear.weight.grid.symmetric or linear.weight.grid.has_minima


def _is_wide(scale: Tensor, minima: Tensor) -> bool:
    return not torch.equal(minima.to(scale.dtype).float(), minima)
