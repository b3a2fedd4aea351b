"""Any symmetric grid as a sorted table, which is what the native solver rounds to."""

from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import torch
from torch import Tensor

from tersor.grids import Grid


@dataclass(frozen=True, eq=False)
class SortedLevels:
    """Distinct levels in units of the scale, ascending.

    - ``levels``: float32 ``(n,)``
    - ``boundaries``: float32 ``(n − 1,)``, the largest number that belongs to each level but the
      last
    - ``codes``: the codes' bytes, uint8 ``(n,)``
    """

    levels: Tensor
    boundaries: Tensor
    codes: Tensor


@lru_cache(maxsize=16)
def sorted_levels(grid: Grid) -> SortedLevels:
    """The table by which values are rounded exactly as ``grid.encode`` rounds them."""
    one = torch.ones(1)
    levels = torch.tensor(sorted(set(filter(isfinite, grid.levels)))) + 0.0  # which makes −0 into 0
    middles = (levels[1:] + levels[:-1]) / 2
    # Which way a tie goes is the grid's business, so ask it.
    ties_go_up = grid.decode(grid.encode(middles, one, None), one, None) == levels[1:]
    below = middles.nextafter(torch.tensor(-torch.inf))
    codes = grid.encode(levels, one, None).view(torch.uint8)
    return SortedLevels(levels, torch.where(ties_go_up, below, middles), codes)
