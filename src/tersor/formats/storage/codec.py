"""Quantized linears ⇄ tensors, by names that follow compressed-tensors: ``<module>.<suffix>``.

The storage of the scheme has codes and zero points; what surrounds them is here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.formats.entry import Entry
from tersor.formats.linear import InputParameters, QuantizedLinear
from tersor.formats.storage.kind import scale_shape
from tersor.formats.storage.known import storage_for
from tersor.grids import (
    Granularity,
    QuantizedTensor,
    ScaleFormat,
    Scheme,
    StoredScale,
    TensorScheme,
)

SUFFIXES = (
    "weight",
    "weight_packed",
    "weight_shape",
    "weight_scale",
    "weight_zero_point",
    "weight_minimum",
    "weight_global_scale",
    "weight_codebook",
    "input_scale",
    "input_zero_point",
)


def layout(scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype) -> dict[str, Entry]:
    """Suffix → type and shape of everything stored for a linear ``(out, in)``.

    ``dtype``: the model's float type, in which scales of format ``float`` are stored.
    """
    weights, storage = scheme.weights, storage_for(scheme)
    entries = storage.codes(weights, shape)
    entries["weight_scale"] = _scale(weights, dtype, scale_shape(weights, shape))
    if weights.grid.has_minima:
        minima = Entry(torch.float32, scale_shape(weights, shape), parameter=True)
        entries["weight_minimum"] = minima
    elif not weights.grid.symmetric:
        entries["weight_zero_point"] = storage.zero_point(weights, shape)
    if weights.scale_format is ScaleFormat.E4M3:
        entries["weight_global_scale"] = Entry(torch.float32, (1,), parameter=True, divisor=True)
    if weights.grid.fitted:
        levels = 1 << weights.grid.bits
        entries["weight_codebook"] = Entry(torch.float32, (levels,), parameter=True)
    return entries | _static_input(scheme, dtype)


def encode(linear: QuantizedLinear) -> dict[str, Tensor]:
    """Suffix → tensor, as :func:`layout` describes."""
    weight, weights = linear.weight, linear.scheme.weights
    storage = storage_for(linear.scheme)
    tensors = storage.encode(weight)
    tensors["weight_scale"] = weight.scale.data.reshape(scale_shape(weights, weight.shape))
    if weight.zero_point is not None and weights.grid.has_minima:
        minima = weight.zero_point.reshape(scale_shape(weights, weight.shape))
        tensors["weight_minimum"] = minima
    elif weight.zero_point is not None:
        tensors["weight_zero_point"] = storage.encode_zero_point(weight.zero_point, weights)
    if weight.scale.global_scale is not None:
        tensors["weight_global_scale"] = weight.scale.global_scale
    if weight.codebook is not None:
        tensors["weight_codebook"] = weight.codebook
    if linear.input is not None:
        tensors["input_scale"] = linear.input.scale
        if linear.input.zero_point is not None:
            tensors["input_zero_point"] = linear.input.zero_point
    return {suffix: tensor.contiguous() for suffix, tensor in tensors.items()}


def decode(
    tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
) -> QuantizedLinear:
    """Inverse of :func:`encode` for tensors that fit :func:`layout`.

    Codes come back in the grid's code type, with the same values that were encoded.
    """
    weights, storage = scheme.weights, storage_for(scheme)
    rows = 1 if weights.granularity is Granularity.TENSOR else shape[0]
    per_row = (rows, weights.groups(shape[1]))
    scale = StoredScale(
        tensors["weight_scale"].reshape(per_row),
        weights.scale_format,
        tensors.get("weight_global_scale"),
    )
    zero_point = tensors.get("weight_zero_point")
    if weights.grid.has_minima:
        zero_point = tensors["weight_minimum"].reshape(per_row)
    elif zero_point is not None:
        zero_point = storage.decode_zero_point(zero_point, weights, per_row)
    weight = QuantizedTensor(
        storage.decode(tensors, weights, shape),
        scale,
        zero_point,
        weights,
        tensors.get("weight_codebook"),
    )
    return QuantizedLinear(weight, scheme, decode_input(tensors))


def decode_input(tensors: Mapping[str, Tensor]) -> InputParameters | None:
    """Parameters of static activations from suffix → tensor; ``None`` if there are none."""
    if "input_scale" not in tensors:
        return None
    return InputParameters(tensors["input_scale"], tensors.get("input_zero_point"))


def _scale(weights: TensorScheme, dtype: torch.dtype, shape: tuple[int, ...]) -> Entry:
    match weights.scale_format:
        case ScaleFormat.E8M0:
            return Entry(torch.uint8, shape, parameter=True)
        case ScaleFormat.E4M3:
            return Entry(torch.float8_e4m3fn, shape, parameter=True)
        case ScaleFormat.FLOAT:
            return Entry(dtype, shape, model_type=True, parameter=True)
        case ScaleFormat.FLOAT16:
            return Entry(torch.float16, shape, parameter=True)
        case _:
            return Entry(torch.float32, shape, parameter=True)


def _static_input(scheme: Scheme, dtype: torch.dtype) -> dict[str, Entry]:
    activations = scheme.activations
    if activations is None or activations.dynamic:
        return {}
    scale = Entry(dtype, (1,), model_type=True, parameter=True, divisor=True)
    if activations.tensor.grid.symmetric:
        return {"input_scale": scale}
    return {"input_scale": scale, "input_zero_point": Entry(torch.int8, (1,))}
