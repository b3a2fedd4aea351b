"""MXFP4 experts as gpt-oss publishes them: ``…_blocks`` and ``…_scales`` instead of ``…``.

OCP Microscaling Formats v1.0, sections 5.3.3 and 5.4.1: 32 values E2M1 share an exponent E8M0. Two
values lie in a byte, the first in its low half. Files hold experts as ``(out, in)``, the model of
transformers as ``(in, out)``.
"""

from functools import partial

import torch
from torch import Tensor

from tersor.checkpoints.derived import Derived, Reader
from tersor.checkpoints.source import Source, TensorInfo
from tersor.errors import NonFiniteWeight, SourceError

_BLOCKS, _SCALES = "_blocks", "_scales"
_BYTES = 16
_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_VALUES = (*_MAGNITUDES, *(-value for value in _MAGNITUDES))
_NAN = 255

Found = tuple[dict[str, Derived], set[str], tuple[str, ...]]


def mxfp4_tensors(source: Source) -> Found:
    """The dequantized tensors of ``source``, the names they replace, and notes.

    Raises:
        SourceError: blocks without scales or the other way round, another dtype or shape.
    """
    derived: dict[str, Derived] = {}
    hidden: set[str] = set()
    for name, info in source.tensors.items():
        if (
            name.endswith(_SCALES)
            and f"{name.removesuffix(_SCALES)}{_BLOCKS}" not in source.tensors
        ):
            raise _wrong(source, name, "scales blocks that are missing")
        if not name.endswith(_BLOCKS):
            continue
        stem = name.removesuffix(_BLOCKS)
        scales = source.tensors.get(f"{stem}{_SCALES}")
        if scales is None:
            raise _wrong(source, name, f"has no {stem.rpartition('.')[2]}{_SCALES}")
        _check(source, info, scales)
        experts, rows, groups, _ = info.shape
        made = TensorInfo(stem, torch.bfloat16, (experts, groups * 2 * _BYTES, rows))
        derived[stem] = Derived(made, partial(_compute, stem, source))
        hidden |= {name, scales.name}
    if not derived:
        raise SourceError(
            f"{source.path}: config.json says mxfp4, and no tensor {_BLOCKS} is there; "
            "download the checkpoint again"
        )
    return derived, hidden, ("read from MXFP4, as published",)


def dequantize_mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """bfloat16 ``(experts, columns, rows)`` of uint8 ``(experts, rows, columns / 32, 16)``.

    ``scales``: uint8 ``(experts, rows, columns / 32)``, exponents offset by 127.
    """
    experts, rows, groups, _ = blocks.shape
    values = torch.tensor(_VALUES, dtype=torch.bfloat16)
    made = torch.empty(experts, groups * 2 * _BYTES, rows, dtype=torch.bfloat16)
    for expert in range(experts):  # one at a time: indices take eight times the room of codes
        codes = torch.stack((blocks[expert] & 15, blocks[expert] >> 4), dim=-1).int()
        exponents = scales[expert].int().sub(127)[..., None, None]
        matrix = torch.ldexp(values[codes], exponents)
        made[expert] = matrix.reshape(rows, -1).T
    return made


def _compute(stem: str, source: Source, read: Reader) -> Tensor:
    scales = read(f"{stem}{_SCALES}")
    if (scales == _NAN).any():
        raise NonFiniteWeight(
            f"{source.path}: tensor '{stem}{_SCALES}' holds NaN; download the checkpoint again"
        )
    return dequantize_mxfp4(read(f"{stem}{_BLOCKS}"), scales)


def _check(source: Source, blocks: TensorInfo, scales: TensorInfo) -> None:
    if blocks.dtype != torch.uint8 or len(blocks.shape) != 4 or blocks.shape[3] != _BYTES:
        what = f"is {blocks.dtype} {blocks.shape}, not uint8 (experts, rows, groups, {_BYTES})"
        raise _wrong(source, blocks.name, what)
    if scales.dtype != torch.uint8 or scales.shape != blocks.shape[:3]:
        what = f"is {scales.dtype} {scales.shape}, not uint8 {blocks.shape[:3]}"
        raise _wrong(source, scales.name, what)


def _wrong(source: Source, name: str, what: str) -> SourceError:
    return SourceError(f"{source.path}: tensor {name!r} {what}; download the checkpoint again")
