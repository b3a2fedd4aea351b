"""Non-linear grids: a table of levels that a scale stretches.

- ``nf4``: 16 quantiles of a normal distribution, QLoRA, https://arxiv.org/abs/2305.14314, app. E
- ``fp4``: E2M1 of the OCP Microscaling formats, v1.0, table 5
- ``log2``: 0 and ± powers of two, https://arxiv.org/abs/1603.01025
- ``kmeans``: levels fitted to the tensor (:mod:`tersor.grids.kinds.lloyd`)

A level is found by its distance on the linear axis. Ties go to the level that lies an even number
of steps from 0, which for ``fp4`` is IEEE's rounding to even.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids.grid import BaseGrid, Grid

_NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
_E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class CodebookGrid(BaseGrid):
    """``2^bits`` or fewer levels; the code of a value is the index of its level.

    ``levels[code]`` is the level in units of the scale and must contain 0. Two codes may share a
    level (``fp4`` has a negative zero): then the smaller code is used. ``levels = ()`` stands for a
    codebook that is fitted to each tensor; :meth:`with_levels` makes it concrete.
    """

    name: str
    bits: int
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8 or len(self.levels) > 1 << self.bits:
            raise SchemeError(f"codebook {self.name}: {len(self.levels)} levels, {self.bits} bits")
        if self.levels and 0.0 not in self.levels:
            raise SchemeError(f"codebook {self.name} has no level for 0")

    @property
    def fitted(self) -> bool:
        """Whether the levels belong to the tensor and not to the grid."""
        return self.name == "kmeans"

    def with_levels(self, levels: tuple[float, ...]) -> Grid:
        """The same grid with these levels; :class:`SchemeError` unless it is fitted."""
        if not self.fitted:
            return super().with_levels(levels)
        return CodebookGrid(self.name, self.bits, levels)

    def with_bits(self, bits: int) -> Grid:
        """The codebook of that name with other levels, if it comes in several widths."""
        make = _OF_ANY_WIDTH.get(self.name)
        return super().with_bits(bits) if make is None else make(bits)

    def written(self) -> dict[str, Any]:
        """The name, and bits where the name does not say them."""
        bits = {"bits": self.bits} if self.name in _OF_ANY_WIDTH else {}
        return super().written() | bits

    @cached_property
    def _codes(self) -> Tensor:
        """The code of each distinct level, levels ascending; uint8."""
        first = {level: code for code, level in reversed(list(enumerate(self.levels)))}
        return torch.tensor([first[level] for level in sorted(first)], dtype=torch.uint8)

    @cached_property
    def _boundaries(self) -> Tensor:
        """The largest float32 that belongs to each distinct level, levels ascending, but the last.

        That is the middle between two levels, or the number just below it if a tie goes up.
        """
        ascending = sorted(set(self.levels))
        levels = torch.tensor(ascending)
        middles = (levels[1:] + levels[:-1]) / 2
        ties_go_up = (torch.arange(len(middles)) - ascending.index(0.0)) % 2 == 1
        return torch.where(ties_go_up, middles.nextafter(torch.tensor(-torch.inf)), middles)

    @property
    def reach(self) -> float:
        """The magnitude, in units of the scale, on which the largest magnitude of a range lands.

        The outermost level; but 1 for fitted levels, which are in units of that magnitude already.
        """
        return 1.0 if self.fitted else max(map(abs, self.levels))

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        """``amax / reach``."""
        return torch.maximum(-low, high).clamp(min=0) / self.reach

    def span(self, scale: Tensor, zero_point: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outermost levels times the scale."""
        return scale * min(self.levels), scale * max(self.levels)

    def encode(self, values: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """Code of the nearest level."""
        scaled = (values / scale).contiguous()
        return self._codes[torch.bucketize(scaled, self._boundaries, out_int32=True)]

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``levels[codes] · s``, float32."""
        return torch.tensor(self.levels)[codes.int()].mul_(scale)


def nf4() -> CodebookGrid:
    """NormalFloat4: equally likely levels for normally distributed weights."""
    return CodebookGrid("nf4", 4, _NF4)


def fp4() -> CodebookGrid:
    """E2M1; codes are the format's own bits: sign, exponent (2), mantissa (1)."""
    return CodebookGrid("fp4", 4, _E2M1 + tuple(-level for level in _E2M1))


def log2(bits: int) -> CodebookGrid:
    """0 and ``±2^−k`` for k = 0 … 2^(bits−1) − 2: one code of the 2^bits stays unused."""
    if bits not in (2, 3, 4, 5, 6):
        raise SchemeError(f"log2 with {bits} bits is not supported; use 2 to 6")
    magnitudes = [2.0**-k for k in reversed(range((1 << (bits - 1)) - 1))]
    return CodebookGrid("log2", bits, (*(-m for m in reversed(magnitudes)), 0.0, *magnitudes))


def kmeans(bits: int) -> CodebookGrid:
    """``2^bits`` levels fitted to each tensor."""
    return CodebookGrid("kmeans", bits)


_OF_ANY_WIDTH: Mapping[str, Callable[[int], CodebookGrid]] = {"log2": log2, "kmeans": kmeans}
