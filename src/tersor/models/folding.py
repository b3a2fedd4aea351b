"""Moving a per-channel scale across a pair: ``y = W₂·f(W₁·x) = (W₂·S)·f(S⁻¹·W₁·x)``.

The idea is older than its users here: Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction" (2019), §4.1; SmoothQuant (Xiao et al., 2023) eq. 3; AWQ
(Lin et al., 2024) eq. 4.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.errors import SchemeError, SourceError
from tersor.models.pairs import Pair


def fold(tensors: Mapping[str, Tensor], pair: Pair, scale: Tensor) -> dict[str, Tensor]:
    """Divide the producer's channels by ``scale`` and multiply the columns that read them.

    ``tensors`` maps names on disk to weights and must hold everything ``pair`` names; ``scale`` is
    ``(pair.channels,)``, positive and finite. Returns the changed tensors only, new ones in the
    dtypes they had; inputs are untouched. The arithmetic is done in fp32 (fp64 for fp64 tensors),
    so the function is preserved up to one rounding to the stored dtype: keep fp32 tensors until
    all folding is done.

    A norm that computes ``x̂·(w + o)`` gets ``(w + o)/s − o``. Raises ``SchemeError`` for a scale of
    the wrong shape or sign, ``SourceError`` for a missing tensor.
    """
    _check_scale(pair, scale)
    # Transposed linears are (in, out); norms and biases have one axis, which is both.
    in_axis, out_axis = (0, 1) if pair.transposed else (1, 0)
    producer = _tensor(tensors, pair.producer)
    folded = {
        pair.producer: _scaled(
            producer,
            pair.rows,
            1 / scale.double(),
            axis=out_axis if producer.ndim > 1 else 0,
            offset=pair.offset,
        )
    }
    if pair.bias is not None:
        bias = _tensor(tensors, pair.bias)
        folded[pair.bias] = _scaled(bias, pair.rows, 1 / scale.double(), axis=0, offset=0.0)
    repeated = scale.unsqueeze(1).expand(pair.columns.shape).flatten()
    for name in (*pair.consumers, *pair.listeners):
        folded[name] = _scaled(
            _tensor(tensors, name), pair.columns.flatten(), repeated, axis=in_axis, offset=0.0
        )
    return folded


def _scaled(tensor: Tensor, index: Tensor, factor: Tensor, *, axis: int, offset: float) -> Tensor:
    """``tensor`` with ``factor`` applied to the slices ``index`` of one axis, to w + offset."""
    precise = torch.promote_types(tensor.dtype, torch.float32)
    factors = torch.ones(tensor.shape[axis], dtype=precise, device=tensor.device)
    factors[index.to(tensor.device)] = factor.to(device=tensor.device, dtype=precise)
    shape = [1] * tensor.ndim
    shape[axis] = -1
    return ((tensor.to(precise) + offset) * factors.view(shape) - offset).to(tensor.dtype)


def _tensor(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise SourceError(f"{name} is missing: folding needs every tensor of its pair at hand")
    return tensors[name]


def _check_scale(pair: Pair, scale: Tensor) -> None:
    if tuple(scale.shape) != (pair.channels,):
        raise SchemeError(
            f"{pair.producer}: a scale of shape {tuple(scale.shape)} for {pair.channels} channels"
        )
    if not bool(torch.isfinite(scale).all()) or not bool((scale > 0).all()):
        raise SchemeError(f"{pair.producer}: scales must be positive and finite")
