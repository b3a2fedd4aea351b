"""Choose the threshold after which the quantized histogram resembles the original one most.

Migacz, "8-bit inference with TensorRT", GTC 2017: for every candidate threshold the distribution of
magnitudes, clipped there, is compared with itself quantized to the grid's levels, by KL divergence.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import BaseRange, Bounds

_FEWEST_VALUES = 1024
_SMOOTHING = 1e-4


@dataclass(frozen=True)
class Entropy(BaseRange):
    """Symmetric threshold on ``|x|``, applied to both ends; made for whole tensors.

    ``bins``: resolution of the histogram; ``stride``: bins between two candidates.
    """

    bins: int = 2048
    stride: int = 8

    def __post_init__(self) -> None:
        if self.bins < 1 or self.stride < 1:
            raise RecipeError(
                f"range entropy: bins {self.bins}, stride {self.stride}; use 1 or more"
            )

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`.

        Raises :class:`RecipeError` for blocks too small to have a histogram. ``importance`` counts
        as the number of times a value was seen.
        """
        rows, groups, size = blocks.shape
        if size < _FEWEST_VALUES:
            raise RecipeError(
                f"range entropy needs {_FEWEST_VALUES} values per scale and a group has {size}; "
                "use range mse, or granularity tensor"
            )
        seen = torch.ones_like(blocks) if importance is None else importance.expand_as(blocks)
        levels = 1 << (scheme.grid.bits - 1)
        thresholds = [
            self._threshold(values.abs(), count, levels)
            for values, count in zip(blocks.flatten(0, 1), seen.flatten(0, 1), strict=True)
        ]
        threshold = torch.tensor(thresholds).reshape(rows, groups)
        low, high = blocks.aminmax(dim=-1)
        return torch.maximum(low, -threshold), torch.minimum(high, threshold)

    def _threshold(self, magnitudes: Tensor, seen: Tensor, levels: int) -> float:
        top = float(magnitudes.max())
        if top == 0 or self.bins <= levels or not bool(seen.any()):
            return top
        indices = (magnitudes / top * self.bins).long().clamp(max=self.bins - 1)
        counts = torch.zeros(self.bins, dtype=torch.float64)
        counts.scatter_add_(0, indices, seen.double())
        candidates = [*range(levels, self.bins, self.stride), self.bins]
        divergences = [clipped_divergence(counts, kept, levels) for kept in candidates]
        best: int = candidates[divergences.index(min(divergences))]
        return top * best / self.bins


def clipped_divergence(counts: Tensor, kept: int, levels: int) -> float:
    """KL divergence of a histogram clipped to ``kept`` bins from its ``levels``-level version.

    ``counts``: float64 ``(bins,)``. What lies beyond is added to the last kept bin of the reference
    only. Mass is spread evenly over the occupied bins that share a level. A ten-thousandth of it is
    spread over all bins: else the divergence were infinite wherever outliers are added to an empty
    bin, and isolated outliers could never be cut off.
    """
    inside = counts[:kept]
    reference = inside.clone()
    reference[-1] += counts[kept:].sum()
    level = torch.arange(kept) * levels // kept
    occupied = (inside > 0).double()
    mass = torch.zeros(levels, dtype=torch.float64).scatter_add_(0, level, inside)
    bins = torch.zeros(levels, dtype=torch.float64).scatter_add_(0, level, occupied)
    quantized = (mass / bins.clamp(min=1))[level] * occupied
    p, q = reference / reference.sum(), quantized / quantized.sum().clamp(min=1e-300)
    q = (1 - _SMOOTHING) * q + _SMOOTHING / kept
    seen = p > 0
    divergence: Tensor = (p[seen] * (p[seen].log() - q[seen].log())).sum()
    return divergence.item()
