"""Scales of two levels: integers of a few bits times a float16 number of 256 columns."""

from tersor.grids.super_blocks.factors import factored
from tersor.grids.super_blocks.levels import (
    SuperScales,
    by_super_block,
    stored_minima,
    stored_scales,
    super_scales,
)

__all__ = [
    "SuperScales",
    "by_super_block",
    "factored",
    "stored_minima",
    "stored_scales",
    "super_scales",
]
