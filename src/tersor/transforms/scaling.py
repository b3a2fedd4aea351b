"""What SmoothQuant and AWQ share: the channels of a pair and the matrices that read them."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tersor.errors import SchemeError, SourceError
from tersor.machine.parallel import in_order
from tersor.models.pairs import Pair

# Beyond these a norm's weight divided by the scale leaves what 16-bit floats hold well.
_SMALLEST, _LARGEST = 1e-4, 1e4


def consumer_matrices(pair: Pair, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name on disk → ``(out, in)`` view of every consumer, whichever way it is stored.

    Raises :class:`SourceError` if ``weights`` lacks one.
    """
    for name in pair.consumers:
        if name not in weights:
            raise SourceError(f"{name} is missing: a scale needs every consumer of its pair")
    return {n: weights[n].T if pair.transposed else weights[n] for n in pair.consumers}


def every_nth_row(matrix: Tensor, most: int) -> Tensor:
    """At most ``most`` rows of ``(out, in)``, evenly spaced, as fp32.

    All rows see the same inputs and have ranges of their own, so a few tell how a scale does.
    """
    step = -(-len(matrix) // most)
    return matrix[::step].float()


def per_channel(pair: Pair, columns: Tensor, what: str) -> Tensor:
    """Values of the consumers' columns ``(in,)`` → ``(channels, repeat)``.

    Raises :class:`SchemeError`, which says ``what`` it is about, if there are not as many.
    """
    if columns.numel() != pair.columns.numel() or columns.ndim != 1:
        raise SchemeError(
            f"{pair.consumers[0]}: {what} of shape {tuple(columns.shape)} for "
            f"{pair.columns.numel()} inputs"
        )
    return columns[pair.columns]


def per_column(pair: Pair, scale: Tensor) -> Tensor:
    """A scale ``(channels,)`` → the factor of every column of the consumers, ``(in,)``."""
    columns = torch.empty(pair.columns.numel(), dtype=scale.dtype)
    columns[pair.columns] = scale.unsqueeze(1).expand(pair.columns.shape)
    return columns


def foldable(scale: Tensor) -> Tensor:
    """``scale`` as ``models.folding`` takes it, fp32: 1 where it is no positive finite number."""
    sound = scale.isfinite() & (scale > 0)
    return torch.where(sound, scale, 1.0).clamp(_SMALLEST, _LARGEST).float()


def least_lossy(
    candidates: Sequence[Tensor], loss: Callable[[Tensor], float], channels: int
) -> Tensor:
    """The first scale ``(channels,)`` with the least loss, tried on all cores."""
    best, least = torch.ones(channels), torch.inf
    for scale, lost in zip(candidates, in_order(loss, candidates), strict=True):
        if lost < least:
            best, least = scale, lost
    return best
