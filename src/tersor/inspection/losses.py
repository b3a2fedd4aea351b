"""What a matrix loses at several widths and granularities, rounded to nearest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from tersor.grids import ErrorParts, Granularity, IntegerGrid, Symmetry, TensorScheme, error_parts
from tersor.machine.parallel import in_order
from tersor.ranges import MinMax
from tersor.rounding import nearest

WIDTHS = (8, 4, 3, 2)
GROUPS = (128, 64, 32)
GRANULARITIES = ("tensor", "channel", *(f"g{size}" for size in GROUPS))


@dataclass(frozen=True)
class Loss:
    """Error of a matrix at ``bits`` per code, with one scale per ``granularity``."""

    bits: int
    granularity: str
    parts: ErrorParts

    @property
    def name(self) -> str:
        """``4 bits g64``."""
        return f"{self.bits} bits {self.granularity}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        parts = self.parts
        return {
            "bits": self.bits,
            "granularity": self.granularity,
            "sqnr_db": parts.sqnr_db if isfinite(parts.sqnr_db) else None,
            "mse": parts.mse,
            "rounding": parts.rounding,
            "clipping": parts.clipping,
            "zero_point": parts.zero_point,
            "largest_error": parts.largest,
        }


def losses(weight: Tensor, *, asymmetric: bool = False) -> tuple[Loss, ...]:
    """Of a matrix ``(out, in)`` of any float type, in which scales are stored; min-max ranges.

    Groups that are not smaller than a row are left out: they are a channel.
    """
    return tuple(in_order(lambda job: job(), loss_jobs(weight, asymmetric=asymmetric)))


def loss_jobs(weight: Tensor, *, asymmetric: bool) -> list[Callable[[], Loss]]:
    """The same as pieces of work, one for each width and granularity."""
    dtype = weight.dtype if weight.dtype in (torch.bfloat16, torch.float16) else torch.float32

    def one(bits: int, granularity: str, scheme: TensorScheme) -> Loss:
        rounded = nearest(weight, scheme, MinMax(), scale_dtype=dtype)
        return Loss(bits, granularity, error_parts(weight, rounded.tensor, rounded.bounds))

    return [partial(one, *scheme) for scheme in _schemes(weight.shape[1], asymmetric)]


def fitted_levels(low: float, high: float, bits: int, *, asymmetric: bool) -> tuple[float, ...]:
    """The values of all codes of the grid that :func:`losses` fits to one matrix, ascending."""
    grid = IntegerGrid(bits, Symmetry.NONE if asymmetric else Symmetry.FULL)
    ends = torch.tensor(low), torch.tensor(high)
    scale = grid.scale_for(*ends)
    scale = torch.where(scale > 0, scale, 1.0)
    codes = torch.arange(grid.code_min, grid.code_max + 1, dtype=torch.int16)
    zero_point = grid.zero_point_for(ends[0], scale)
    return tuple(grid.decode(codes, scale, zero_point).tolist())


def _schemes(columns: int, asymmetric: bool) -> Iterator[tuple[int, str, TensorScheme]]:
    symmetry = Symmetry.NONE if asymmetric else Symmetry.FULL
    for bits in WIDTHS:
        grid = IntegerGrid(bits, symmetry)
        yield bits, "tensor", TensorScheme(grid, Granularity.TENSOR)
        yield bits, "channel", TensorScheme(grid, Granularity.CHANNEL)
        for size in GROUPS:
            if size < columns:
                yield bits, f"g{size}", TensorScheme(grid, Granularity.GROUP, size)
