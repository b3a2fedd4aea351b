"""What every grid can do.

A grid is the finite set of values a code can stand for, in units of a scale. It knows how to choose
the scale for a range, how to find the nearest code, and what a code means. Whoever has a grid asks
it what it is; nobody asks for its class.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tersor.errors import SchemeError


@dataclass(frozen=True)
class IntegerCodes:
    """Codes to calculate with: code q stands for ``s·(q − z)``.

    ``lowest``, ``highest``: the codes in use. ``zero``: z of a grid without zero points.
    ``signed_scale``: whether s may be negative.
    """

    lowest: int
    highest: int
    zero: int
    signed_scale: bool = False


class Grid(Protocol):
    """A finite set of values; a frozen value. One kind per file in ``grids.kinds``.

    All tensors broadcast against each other; by convention values and codes are blocks
    ``(rows, groups, size)`` and scales and zero points ``(rows, groups, 1)``.
    """

    def __hash__(self) -> int: ...

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
        """Type of the unpacked codes, one byte each."""

    @property
    def has_minima(self) -> bool:
        """Whether zero points are float32 minima m of groups, ``s·q + m``, and no codes."""

    @property
    def integers(self) -> IntegerCodes | None:
        """The codes as integers to calculate with; ``None`` if there is only a table of levels.

        Such grids have kernels that multiply integers, and their codes can be trained.
        """

    @property
    def levels(self) -> tuple[float, ...]:
        """What each code stands for in units of the scale, by the code's byte.

        Empty if codes are :attr:`integers`, or if levels are :attr:`fitted` and not known yet.
        """

    @property
    def fitted(self) -> bool:
        """Whether the levels belong to the tensor and not to the grid."""

    def with_levels(self, levels: tuple[float, ...]) -> "Grid":
        """The same grid with the levels of a tensor; :class:`SchemeError` unless it is fitted."""

    def with_bits(self, bits: int) -> "Grid":
        """The grid of the same kind with codes of ``bits`` bits; :class:`SchemeError` if none."""

    def asymmetric(self) -> "Grid":
        """The same grid with zero points; :class:`SchemeError` if there is none."""

    def written(self) -> dict[str, Any]:
        """Keys and values, plain JSON types, by which a recipe names it: ``{"grid": "nf4"}``."""

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


class BaseGrid:
    """What most grids answer: no zero points, a fixed width, levels of their own, no parameters."""

    @property
    def symmetric(self) -> bool:
        """There are no zero points."""
        return True

    @property
    def code_dtype(self) -> torch.dtype:
        """``uint8``."""
        return torch.uint8

    @property
    def has_minima(self) -> bool:
        """Zero points, if there are any, are codes."""
        return False

    @property
    def integers(self) -> IntegerCodes | None:
        """``None``."""
        return None

    @property
    def fitted(self) -> bool:
        """Levels belong to the grid."""
        return False

    def with_levels(self: Grid, levels: tuple[float, ...]) -> Grid:
        """Raises :class:`SchemeError`."""
        raise SchemeError(f"{self.name} has levels of its own; none can be fitted to a tensor")

    def with_bits(self: Grid, bits: int) -> Grid:
        """Raises :class:`SchemeError` for another width than the grid's own."""
        if bits != self.bits:
            raise SchemeError(f"{self.name} always has {self.bits} bits")
        return self

    def asymmetric(self: Grid) -> Grid:
        """Raises :class:`SchemeError`."""
        raise SchemeError(f"{self.name} has no zero points")

    def written(self: Grid) -> dict[str, Any]:
        """The name alone."""
        return {"grid": self.name}

    def zero_point_for(self, low: Tensor, scale: Tensor) -> Tensor | None:
        """``None``."""
        return None
