"""Cut a fixed share of the values off both ends: McKinstry et al., https://arxiv.org/abs/1809.04191."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError
from tersor.grids import ScaleStorage, TensorScheme
from tersor.ranges.estimator import BaseRange, Bounds


@dataclass(frozen=True)
class Percentile(BaseRange):
    """Keep the middle of the distribution: ``share`` of the values lie below ``high``, and as many
    above ``low``. With ``importance`` the shares are shares of its sum, so that the bins of a
    histogram can be given as values and their counts as importance.
    """

    share: float = 0.999

    def __post_init__(self) -> None:
        if not 0.5 < self.share <= 1:
            raise RecipeError(f"range percentile: share {self.share} is not within (0.5, 1]")

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`."""
        ordered, order = blocks.sort(dim=-1)
        mass = torch.ones_like(ordered, dtype=torch.float64)
        if importance is not None:
            mass = importance.double().expand_as(blocks).gather(-1, order)
            mass = mass.where(mass.sum(-1, keepdim=True) > 0, 1.0)
        cumulative = mass.cumsum(-1)
        total = cumulative[..., -1:]
        slack = total * 1e-12  # a sum in another order must not push the end off by one value
        last = blocks.shape[-1] - 1
        high = torch.searchsorted(cumulative, self.share * total - slack).clamp(max=last)
        low = torch.searchsorted(cumulative, (1 - self.share) * total + slack, right=True)
        low = low.clamp(max=last)
        return ordered.gather(-1, low).squeeze(-1), ordered.gather(-1, high).squeeze(-1)
