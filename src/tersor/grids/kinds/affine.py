"""Integers with a minimum in float: ``w' = s·q + m``.

What llama.cpp's types ending in ``_1``, and its K-quants of 2, 4 and 5 bits, are made of. A minimum
is no multiple of the scale, so no zero point says the same.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids.grid import BaseGrid, IntegerCodes


@dataclass(frozen=True)
class AffineGrid(BaseGrid):
    """Codes ``0 … 2^bits − 1``; what other grids call a zero point is the minimum m, float32."""

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise SchemeError(f"affine codes of {self.bits} bits are not supported; use 2 to 8")

    @property
    def name(self) -> str:
        """``affine4``, …"""
        return f"affine{self.bits}"

    @property
    def symmetric(self) -> bool:
        """Every group has a minimum."""
        return False

    @property
    def has_minima(self) -> bool:
        """They are what it is for."""
        return True

    @property
    def integers(self) -> IntegerCodes:
        """All codes; 0 stands for the minimum."""
        return IntegerCodes(0, (1 << self.bits) - 1, 0)

    @property
    def levels(self) -> tuple[float, ...]:
        """None: codes are integers."""
        return ()

    def asymmetric(self) -> "AffineGrid":
        """This one."""
        return self

    def written(self) -> dict[str, Any]:
        """``affine`` and bits."""
        return {"grid": "affine", "bits": self.bits}

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        """``(high − low) / (2^bits − 1)``."""
        return (high - low) / self.integers.highest

    def zero_point_for(self, low: Tensor, scale: Tensor) -> Tensor | None:
        """The minimum itself."""
        return low.float()

    def span(self, scale: Tensor, zero_point: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values of the smallest and the largest code, in order."""
        assert zero_point is not None
        other = zero_point + scale * self.integers.highest
        return torch.minimum(zero_point, other), torch.maximum(zero_point, other)

    def encode(self, values: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``clip(round((values − m) / s))``."""
        assert zero_point is not None
        codes = values.sub(zero_point).div_(scale).round_()
        return codes.clamp_(0, self.integers.highest).to(self.code_dtype)

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``s·q + m``, the product rounded to float32 and then the sum."""
        assert zero_point is not None
        return codes.float().mul_(scale).add_(zero_point)
