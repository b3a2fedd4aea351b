"""What a linear's tensors are called on disk, and their shapes: one layout per storage format.

Every layout is a pure description; :mod:`tersor.formats.storage.codec` turns quantized tensors into
it and back. Suffixes follow compressed-tensors: ``<module>.<suffix>``.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch

from tersor.grids import (
    CodebookGrid,
    FloatGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    Scheme,
    TensorScheme,
)
from tersor.grids.packing import packed_columns


class Storage(StrEnum):
    """How the codes of one linear are stored; the values are compressed-tensors' format names."""

    PACKED = "pack-quantized"
    """``weight_packed`` int32: dense words of unsigned codes, column 0 in the lowest bits."""
    INT8 = "int-quantized"
    """``weight`` int8."""
    FP8 = "float-quantized"
    """``weight`` float8, activations quantized too."""
    FP8_WEIGHT_ONLY = "naive-quantized"
    """``weight`` float8, activations left alone."""
    MXFP4 = "mxfp4-pack-quantized"
    """``weight_packed`` uint8: two E2M1 codes a byte; ``weight_scale`` uint8: E8M0."""
    NVFP4 = "nvfp4-pack-quantized"
    """``weight_packed`` uint8; ``weight_scale`` E4M3; ``weight_global_scale`` float32."""


@dataclass(frozen=True)
class Entry:
    """Type and shape of one stored tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


def storage_for(scheme: Scheme) -> Storage:
    """The storage of a scheme."""
    weights, quantizes_activations = scheme.weights, scheme.activations is not None
    if isinstance(weights.grid, FloatGrid):
        return Storage.FP8 if quantizes_activations else Storage.FP8_WEIGHT_ONLY
    if weights.scale_format is ScaleFormat.E8M0:
        return Storage.MXFP4
    if weights.scale_format is ScaleFormat.E4M3:
        return Storage.NVFP4
    if isinstance(weights.grid, IntegerGrid) and weights.grid.bits == 8 and quantizes_activations:
        return Storage.INT8
    return Storage.PACKED


def layout(scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype) -> dict[str, Entry]:
    """Suffix → type and shape of everything stored for a linear ``(out, in)``.

    ``dtype``: the model's float type, in which scales of format ``float`` are stored.
    """
    out_features, in_features = shape
    weights, storage = scheme.weights, storage_for(scheme)
    entries = _codes(storage, weights, out_features, in_features)
    entries["weight_scale"] = Entry(_scale_dtype(weights, dtype), scale_shape(weights, shape))
    if not weights.grid.symmetric:
        entries["weight_zero_point"] = _zero_point(storage, weights, shape)
    if weights.scale_format is ScaleFormat.E4M3:
        entries["weight_global_scale"] = Entry(torch.float32, (1,))
    if isinstance(weights.grid, CodebookGrid) and weights.grid.fitted:
        entries["weight_codebook"] = Entry(torch.float32, (1 << weights.grid.bits,))
    return entries | _static_input(scheme, dtype)


def scale_shape(weights: TensorScheme, shape: tuple[int, int]) -> tuple[int, ...]:
    """``(1,)`` per tensor, ``(out, 1)`` per channel, ``(out, groups)`` per group."""
    if weights.granularity is Granularity.TENSOR:
        return (1,)
    return (shape[0], weights.groups(shape[1]))


def _codes(storage: Storage, weights: TensorScheme, rows: int, columns: int) -> dict[str, Entry]:
    match storage:
        case Storage.PACKED:
            words = packed_columns(columns, weights.grid.bits)
            return {
                "weight_packed": Entry(torch.int32, (rows, words)),
                "weight_shape": Entry(torch.int64, (2,)),
            }
        case Storage.MXFP4 | Storage.NVFP4:
            entries = {"weight_packed": Entry(torch.uint8, (rows, -(-columns // 2)))}
            # Two codes a byte: only an odd number of columns cannot be told from the packed shape.
            return entries | ({"weight_shape": Entry(torch.int64, (2,))} if columns % 2 else {})
        case Storage.INT8:
            return {"weight": Entry(torch.int8, (rows, columns))}
        case _:
            return {"weight": Entry(weights.grid.code_dtype, (rows, columns))}


def _scale_dtype(weights: TensorScheme, dtype: torch.dtype) -> torch.dtype:
    match weights.scale_format:
        case ScaleFormat.E8M0:
            return torch.uint8
        case ScaleFormat.E4M3:
            return torch.float8_e4m3fn
        case _:
            return dtype


def _zero_point(storage: Storage, weights: TensorScheme, shape: tuple[int, int]) -> Entry:
    packed = storage is Storage.PACKED and weights.granularity is not Granularity.TENSOR
    if not packed:
        return Entry(torch.int8, scale_shape(weights, shape))
    rows = packed_columns(shape[0], weights.grid.bits)
    return Entry(torch.int32, (rows, weights.groups(shape[1])))


def _static_input(scheme: Scheme, dtype: torch.dtype) -> dict[str, Entry]:
    activations = scheme.activations
    if activations is None or activations.dynamic:
        return {}
    entries = {"input_scale": Entry(dtype, (1,))}
    if not activations.tensor.grid.symmetric:
        entries["input_zero_point"] = Entry(torch.int8, (1,))
    return entries
