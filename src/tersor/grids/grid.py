"""What every grid can do.

A grid is the finite set of values a code can stand for, in units of a scale. It knows how to choose
the scale for a range, how to find the nearest code, and what a code means.
"""

from typing import Protocol

import torch
from torch import Tensor


class Grid(Protocol):
    """A finite set of values; see :class:`IntegerGrid`, :class:`CodebookGrid`, :class:`FloatGrid`.

    All tensors broadcast against each other; by convention values and codes are blocks
    ``(rows, groups, size)`` and scales and zero points ``(rows, groups, 1)``.
    """

    @property
    def name(self) -> str:
        """Short name, as written in a recipe: ``int4``, ``nf4``, ``fp8_e4m3``."""

    @property
    def bits(self) -> int:
        """Width of one stored code."""

    @property
    def symmetric(self) -> bool:
        """Whether the grid needs no zero point."""

    @property
    def code_dtype(self) -> torch.dtype:
        """Type of the unpacked codes."""

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        """Scale that makes the grid span ``[low, high]``, float32, before it is stored.

        Zero where the range is empty; the caller decides what to store then.
        """

    def zero_point_for(self, low: Tensor, scale: Tensor) -> Tensor | None:
        """Code that stands for 0 given the scale as stored; ``None`` if symmetric."""

    def span(self, scale: Tensor, zero_point: Tensor | None) -> tuple[Tensor, Tensor]:
        """Smallest and largest representable value."""

    def encode(self, values: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """Nearest code of every value; values outside the span get the code of its end."""

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """The float32 values that the codes stand for."""
