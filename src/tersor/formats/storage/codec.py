"""Quantized linears ⇄ the tensors on disk."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import FormatError
from tersor.formats.sound import PARAMETERS, refuse_unsound
from tersor.formats.storage.layout import Storage, layout, scale_shape, storage_for
from tersor.grids import (
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    Scheme,
    StoredScale,
    TensorScheme,
    pack,
    unpack,
)

_MODEL_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True, eq=False)
class InputParameters:
    """Scale ``(1,)`` in the model's float type and int8 zero point ``(1,)`` of a static input."""

    scale: Tensor
    zero_point: Tensor | None


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """Weight, and for static activations the parameters of the input."""

    weight: QuantizedTensor
    scheme: Scheme
    input: InputParameters | None = None


def encode(linear: QuantizedLinear) -> dict[str, Tensor]:
    """Suffix → tensor, as :func:`tersor.formats.storage.layout.layout` describes."""
    weight, storage = linear.weight, storage_for(linear.scheme)
    weights = linear.scheme.weights
    tensors = _encode_codes(weight, storage)
    tensors["weight_scale"] = weight.scale.data.reshape(scale_shape(weights, weight.shape))
    if weight.zero_point is not None:
        tensors["weight_zero_point"] = _encode_zero_point(weight.zero_point, weights, storage)
    if weight.scale.global_scale is not None:
        tensors["weight_global_scale"] = weight.scale.global_scale
    if weight.codebook is not None:
        tensors["weight_codebook"] = weight.codebook
    if linear.input is not None:
        tensors["input_scale"] = linear.input.scale
        if linear.input.zero_point is not None:
            tensors["input_zero_point"] = linear.input.zero_point
    return {suffix: tensor.contiguous() for suffix, tensor in tensors.items()}


def decode(tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> QuantizedLinear:
    """Inverse of :func:`encode`. ``module`` names the linear in errors.

    Codes come back in the grid's code type, with the same values that were encoded. Raises
    :class:`FormatError` if a tensor is missing, is one too many, has another type or shape than the
    scheme says, or values that no scale can have.
    """
    weights, storage = scheme.weights, storage_for(scheme)
    shape = check(tensors, scheme, module)
    groups = weights.groups(shape[1])
    rows = 1 if weights.granularity is Granularity.TENSOR else shape[0]
    scale = StoredScale(
        tensors["weight_scale"].reshape(rows, groups),
        weights.scale_format,
        tensors.get("weight_global_scale"),
    )
    zero_point = tensors.get("weight_zero_point")
    if zero_point is not None:
        zero_point = _decode_zero_point(zero_point, weights, storage, (rows, groups))
    weight = QuantizedTensor(
        _decode_codes(tensors, weights, storage, shape),
        scale,
        zero_point,
        weights,
        tensors.get("weight_codebook"),
    )
    return QuantizedLinear(weight, scheme, decode_input(tensors))


def _unsigned(codes: Tensor, grid: IntegerGrid) -> Tensor:
    """Codes or zero points as they are packed: two's complement ones plus ``2^(b−1)``."""
    if not grid.signed:
        return codes
    return (codes.to(torch.int16) + (1 << (grid.bits - 1))).to(torch.uint8)


def _restored(codes: Tensor, grid: IntegerGrid) -> Tensor:
    if not grid.signed:
        return codes
    return (codes.to(torch.int16) - (1 << (grid.bits - 1))).to(torch.int8)


def _encode_codes(weight: QuantizedTensor, storage: Storage) -> dict[str, Tensor]:
    grid, codes = weight.scheme.grid, weight.codes
    match storage:
        case Storage.PACKED:
            unsigned = _unsigned(codes, grid) if isinstance(grid, IntegerGrid) else codes
            return {
                "weight_packed": pack(unsigned, grid.bits),
                "weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
            }
        case Storage.MXFP4 | Storage.NVFP4:
            odd = codes.shape[1] % 2
            padded = torch.nn.functional.pad(codes, (0, odd))
            tensors = {"weight_packed": padded[:, ::2] | (padded[:, 1::2] << 4)}
            shape = torch.tensor(weight.shape, dtype=torch.int64)
            return tensors | ({"weight_shape": shape} if odd else {})
        case Storage.INT8:
            assert isinstance(grid, IntegerGrid)
            return {"weight": codes if grid.signed else (codes ^ 0x80).view(torch.int8)}
        case _:
            return {"weight": codes}


def _decode_codes(
    tensors: Mapping[str, Tensor], weights: TensorScheme, storage: Storage, shape: tuple[int, int]
) -> Tensor:
    grid = weights.grid
    match storage:
        case Storage.PACKED:
            codes = unpack(tensors["weight_packed"], grid.bits, shape[1])
            return _restored(codes, grid) if isinstance(grid, IntegerGrid) else codes
        case Storage.MXFP4 | Storage.NVFP4:
            packed = tensors["weight_packed"]
            both = torch.stack((packed & 0x0F, packed >> 4), dim=-1).flatten(1)
            return both[:, : shape[1]].contiguous()
        case Storage.INT8:
            assert isinstance(grid, IntegerGrid)
            codes = tensors["weight"]
            return codes if grid.signed else codes.view(torch.uint8) ^ 0x80
        case _:
            return tensors["weight"]


def _encode_zero_point(zero_point: Tensor, weights: TensorScheme, storage: Storage) -> Tensor:
    """Packed along the output dimension, as compressed-tensors wants it; else plain int8."""
    grid = weights.grid
    assert isinstance(grid, IntegerGrid)
    if storage is Storage.PACKED and weights.granularity is not Granularity.TENSOR:
        return pack(_unsigned(zero_point, grid).T.contiguous(), grid.bits).T
    signed = zero_point if grid.signed else zero_point.to(torch.int16) - grid.offset
    shape = (1,) if weights.granularity is Granularity.TENSOR else tuple(zero_point.shape)
    return signed.to(torch.int8).reshape(shape)


def _decode_zero_point(
    stored: Tensor, weights: TensorScheme, storage: Storage, shape: tuple[int, int]
) -> Tensor:
    grid = weights.grid
    assert isinstance(grid, IntegerGrid)
    if storage is Storage.PACKED and weights.granularity is not Granularity.TENSOR:
        return _restored(unpack(stored.T.contiguous(), grid.bits, shape[0]).T.contiguous(), grid)
    signed = stored.reshape(shape)
    return signed if grid.signed else (signed.to(torch.int16) + grid.offset).to(torch.uint8)


def check(tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> tuple[int, int]:
    """``(out, in)`` of a linear whose tensors have the types and shapes of its scheme.

    Raises :class:`FormatError` if a tensor is missing, is one too many or is of another kind.
    """
    shape = stored_shape(tensors, scheme, module)
    _check(tensors, scheme, shape, module)
    return shape


def decode_input(tensors: Mapping[str, Tensor]) -> InputParameters | None:
    """Parameters of static activations from suffix → tensor; ``None`` if there are none."""
    if "input_scale" not in tensors:
        return None
    return InputParameters(tensors["input_scale"], tensors.get("input_zero_point"))


def stored_shape(tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> tuple[int, int]:
    """``(out, in)`` of a linear, still to be checked against its other tensors.

    ``tensors``: suffix → tensor, of which codes are not read. Raises :class:`FormatError`.
    """
    storage = storage_for(scheme)
    halves = storage in (Storage.MXFP4, Storage.NVFP4)
    if storage is Storage.PACKED or (halves and "weight_shape" in tensors):
        return _two_sizes(_get(tensors, "weight_shape", module), module)
    name = "weight_packed" if halves else "weight"
    codes = _get(tensors, name, module)
    if codes.ndim != 2 or codes.numel() == 0:
        raise FormatError(f"{module}.{name} is {tuple(codes.shape)}, not a matrix (out, in)")
    rows, columns = codes.shape
    return rows, columns * 2 if halves else columns


def _two_sizes(stored: Tensor, module: str) -> tuple[int, int]:
    shape = stored.tolist() if stored.dtype == torch.int64 and stored.shape == (2,) else []
    if not shape or not all(0 < size < 1 << 31 for size in shape):
        raise FormatError(
            f"{module}.weight_shape is {stored.tolist()} ({stored.dtype}), "
            "not two positive int64 numbers (out, in)"
        )
    return shape[0], shape[1]


def _check(
    tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int], module: str
) -> None:
    scale_dtype = _get(tensors, "weight_scale", module).dtype
    model_dtype = scale_dtype if scale_dtype in _MODEL_DTYPES else torch.float32
    entries = layout(scheme, shape, model_dtype)
    for suffix in tensors.keys() - entries.keys():
        raise FormatError(f"tensor {module}.{suffix} does not belong to its scheme ({scheme})")
    for suffix, entry in entries.items():
        found = _get(tensors, suffix, module)
        # A weight scale that is not of the model's type does not tell what the input scale must be.
        dtypes = _MODEL_DTYPES if suffix == "input_scale" else (entry.dtype,)
        if found.dtype not in dtypes or tuple(found.shape) != entry.shape:
            raise FormatError(
                f"{module}.{suffix} is {found.dtype} {tuple(found.shape)}; "
                f"its scheme ({scheme}) needs {entry.dtype} {entry.shape}"
            )
        if suffix in PARAMETERS:
            refuse_unsound(f"{module}.{suffix}", found)


def _get(tensors: Mapping[str, Tensor], suffix: str, module: str) -> Tensor:
    if suffix not in tensors:
        raise FormatError(f"tensor {module}.{suffix} is missing")
    return tensors[suffix]
