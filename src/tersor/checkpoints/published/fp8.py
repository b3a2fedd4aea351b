"""FP8 E4M3 with a scale for each block, channel or tensor: ``weight`` and ``weight_scale_inv``.

DeepSeek-V3 technical report, https://arxiv.org/abs/2412.19437, section 3.3; the name of the scale
notwithstanding it multiplies. What was not converted is stored as it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.derived import Derived, Reader
from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import SourceError

_SCALE = "_scale_inv"
_SCALE_TYPES = (
    torch.float32, torch.bfloat16, torch.float16, torch.float8_e8m0fnu, torch.uint8,
)  # fmt: skip
# Scales of static activations; the weights alone make the model.
_OF_ACTIVATIONS = ("activation_scale", "input_scale")
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)

Block = tuple[int, int]
Found = tuple[dict[str, Derived], set[str], tuple[str, ...]]


def fp8_tensors(source: Source, settings: Mapping[str, Any]) -> Found:
    """The dequantized tensors of ``source``, the names they replace, and notes.

    ``settings``: its ``quantization_config``; ``weight_block_size`` ``None`` means a scale for each
    tensor or channel.

    Raises:
        SourceError: a scale without weight or the other way round, another dtype or shape.
    """
    block = _block(source, settings)
    derived: dict[str, Derived] = {}
    hidden: set[str] = set()
    for name, info in source.tensors.items():
        scale = source.tensors.get(f"{name}{_SCALE}")
        if info.dtype in _FLOAT8 and scale is None and not name.endswith(_SCALE):
            raise _wrong(source, name, f"is FP8 and has no {name.rpartition('.')[2]}{_SCALE}")
        if scale is not None:
            _check(source, info, scale, block)
            made = replace(info, dtype=torch.bfloat16)
            derived[name] = Derived(made, partial(_compute, name, block))
            hidden.add(scale.name)
        elif name.endswith(_SCALE) and name.removesuffix(_SCALE) not in source.tensors:
            raise _wrong(source, name, "scales a tensor that is missing")
    activations = {n for n in source.tensors if n.endswith(_OF_ACTIVATIONS)}
    notes = ["read from FP8, as published"]
    if activations:
        notes.append(f"{len(activations)} scales of FP8 activations are left out")
    return derived, hidden | activations, tuple(notes)


def dequantize_fp8(weight: Tensor, scale: Tensor, block: Block | None) -> Tensor:
    """The bfloat16 values of ``weight`` float8 ``(…, rows, columns)``; products are float32.

    ``scale``: with ``block`` ``(…, ⌈rows/block⌉, ⌈columns/block⌉)``, the last ones ragged; without,
    one value, one for each matrix or one for each row. Bytes are exponents, offset by 127.
    """
    factors = _factors(scale)
    rows, columns = weight.shape[-2:]
    if block is None:
        return (weight.float() * _spread(factors, weight.shape)).to(torch.bfloat16)
    made = torch.empty(weight.shape, dtype=torch.bfloat16)
    for index, first in enumerate(range(0, rows, block[0])):
        part = slice(first, min(first + block[0], rows))
        row = factors[..., index, :].repeat_interleave(block[1], dim=-1)[..., :columns]
        made[..., part, :] = weight[..., part, :].float() * row.unsqueeze(-2)
    return made


def _compute(name: str, block: Block | None, read: Reader) -> Tensor:
    return dequantize_fp8(read(name), read(f"{name}{_SCALE}"), block)


def _factors(scale: Tensor) -> Tensor:
    if scale.dtype != torch.uint8:
        return scale.float()
    # 255 is not a number in E8M0.
    exponents = torch.where(scale == 255, torch.nan, scale.float() - 127)
    return exponents.exp2()


def _spread(factors: Tensor, shape: torch.Size) -> Tensor:
    if factors.numel() == 1:
        return factors.reshape(())
    if factors.shape[-1:] == (1,) and factors.ndim == len(shape):
        return factors
    return factors.reshape(*factors.shape, *(1,) * (len(shape) - factors.ndim))


def _block(source: Source, settings: Mapping[str, Any]) -> Block | None:
    match settings.get("weight_block_size"):
        case None:
            return None
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
        case other:
            raise SourceError(
                f"{source.path / 'config.json'}: weight_block_size {other!r} is not two counts"
            )


def _check(source: Source, weight: TensorInfo, scale: TensorInfo, block: Block | None) -> None:
    if weight.dtype != torch.float8_e4m3fn or len(weight.shape) < 2:
        raise _wrong(
            source, weight.name, f"is {weight.dtype} {weight.shape}, not a float8_e4m3fn matrix"
        )
    if scale.dtype not in _SCALE_TYPES:
        raise _wrong(source, scale.name, f"is {scale.dtype}, no type of scales")
    *leading, rows, columns = weight.shape
    if block is not None:
        allowed = [(*leading, ceil(rows / block[0]), ceil(columns / block[1]))]
    else:
        channels = [(*leading, rows, 1), (*leading, rows)]
        allowed = [(), (1,), (1, 1), *channels]
        allowed += [tuple(leading), (*leading, 1, 1)] if leading else []
    if scale.shape not in allowed:
        raise _wrong(
            source, scale.name, f"has shape {scale.shape}, not {allowed[0]} for {weight.shape}"
        )


def _wrong(source: Source, name: str, what: str) -> SourceError:
    return SourceError(
        f"{source.path}: tensor {name!r} {what}; "
        "download the checkpoint again, or start from one in bfloat16"
    )
