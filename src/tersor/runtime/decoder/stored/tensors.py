"""Tensors of a checkpoint as the engine takes them: float32, or the bits of bfloat16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.source import FloatSource, Source
from tersor.errors import NonFiniteWeight, SourceError

_SIGN, _INFINITE = 0x7FFF, 0x7F80
_PIECE = 1 << 20


def tensor(source: Source, name: str) -> NDArray[Any]:
    """Values in float32, or as uint16 the bits of what is stored as bfloat16; mapped if possible.

    Raises :class:`SourceError` if there is no such tensor.
    """
    if name not in source.tensors:
        raise SourceError(f"{source.path} holds no tensor {name}")
    found = source.floats(name) if isinstance(source, FloatSource) else None
    if found is not None:
        return found
    import torch

    values = source.read([name])[name]
    narrow = values.dtype == torch.bfloat16
    return (values.contiguous().view(torch.uint16) if narrow else values.float()).numpy()


def sound(source: Source, name: str) -> NDArray[Any]:
    """A :func:`tensor` that is read whole in any case, if it is finite.

    Raises :class:`NonFiniteWeight` too.
    """
    values = tensor(source, name)
    if not is_finite(values):
        raise NonFiniteWeight(
            f"{source.path}: tensor {name!r} holds NaN or infinity; "
            "make or download the model again"
        )
    return values


def is_finite(values: NDArray[Any]) -> bool:
    """Whether values in float32, or bits of bfloat16, are free of NaN and infinity."""
    flat = values.reshape(-1)
    pieces = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
    if values.dtype == np.uint16:
        return all(int((piece & _SIGN).max()) < _INFINITE for piece in pieces)
    return all(bool(np.isfinite(piece).all()) for piece in pieces)


def float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values in float32 of bits of bfloat16, or as they are."""
    if values.dtype != np.uint16:
        return values
    return (values.astype(np.uint32) << 16).view(np.float32)
