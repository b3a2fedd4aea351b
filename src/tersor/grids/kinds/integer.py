"""Affine integers: ``q = clip(round(w/s) + z)`` and ``w' = s·(q − z)``.

Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", https://arxiv.org/abs/1712.05877, eq. 1. Ties round to even.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids.grid import BaseGrid, IntegerCodes

WIDTHS = (2, 3, 4, 5, 6, 8)


class Symmetry(StrEnum):
    """How the range of a group is laid over the codes (b bits, amax the largest magnitude)."""

    NONE = "none"
    """Asymmetric: ``s = (high − low) / (2^b − 1)`` and a zero point per scale."""
    RESTRICTED = "restricted"
    """Codes ``±(2^(b−1) − 1)``, ``s = amax / (2^(b−1) − 1)``: the lowest code is never used."""
    FULL = "full"
    """All codes, ``s = amax / (2^(b−1) − ½)``: +amax and −amax both lie half a step off a level."""
    SIGNED_SCALE = "signed_scale"
    """All codes, the scale carries the sign that puts the value of largest magnitude exactly on
    ``−2^(b−1)``; the opposite end loses up to one step."""


@dataclass(frozen=True)
class IntegerGrid(BaseGrid):
    """Integers of 2, 3, 4, 5, 6 or 8 bits, times a scale.

    ``signed`` chooses how codes are stored: two's complement (``−2^(b−1) … 2^(b−1)−1``) or unsigned
    (``0 … 2^b−1``). Both describe the same values: unsigned codes and zero points are the signed
    ones plus ``2^(b−1)``.
    """

    bits: int
    symmetry: Symmetry = Symmetry.RESTRICTED
    signed: bool = True

    def __post_init__(self) -> None:
        if self.bits not in WIDTHS:
            widths = ", ".join(map(str, WIDTHS))
            raise SchemeError(
                f"integers of {self.bits} bits are not supported; use one of {widths}"
            )

    @property
    def name(self) -> str:
        """``int4``, ``int8``, …"""
        return f"int{self.bits}"

    @property
    def symmetric(self) -> bool:
        """Whether 0 has the same code in every group."""
        return self.symmetry is not Symmetry.NONE

    @property
    def code_dtype(self) -> torch.dtype:
        """``int8`` or ``uint8``."""
        return torch.int8 if self.signed else torch.uint8

    @property
    def offset(self) -> int:
        """What unsigned storage adds to a two's complement code."""
        return 0 if self.signed else 1 << (self.bits - 1)

    @property
    def code_min(self) -> int:
        """Smallest code in use."""
        unused = 1 if self.symmetry is Symmetry.RESTRICTED else 0
        return self.offset - (1 << (self.bits - 1)) + unused

    @property
    def code_max(self) -> int:
        """Largest code in use."""
        return self.offset + (1 << (self.bits - 1)) - 1

    @property
    def integers(self) -> IntegerCodes:
        """The codes in use."""
        signed_scale = self.symmetry is Symmetry.SIGNED_SCALE
        return IntegerCodes(self.code_min, self.code_max, self.offset, signed_scale)

    @property
    def levels(self) -> tuple[float, ...]:
        """None: codes are integers."""
        return ()

    def with_bits(self, bits: int) -> "IntegerGrid":
        """Integers of another width; :class:`SchemeError` if there are none."""
        return replace(self, bits=bits)

    def asymmetric(self) -> "IntegerGrid":
        """The same integers with zero points."""
        return replace(self, symmetry=Symmetry.NONE)

    def written(self) -> dict[str, Any]:
        """``int``, bits and symmetry; how codes are stored is not a recipe's business."""
        return {"grid": "int", "bits": self.bits, "symmetry": self.symmetry.value}

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        """Scale of a range ``[low, high]``; a range without 0 is extended to contain it."""
        low, high = low.clamp(max=0), high.clamp(min=0)
        steps = self.code_max - self.code_min
        match self.symmetry:
            case Symmetry.NONE:
                return (high - low) / steps
            case Symmetry.SIGNED_SCALE:
                extreme = torch.where(-low > high, low, high)
                return extreme / (self.code_min - self.offset)
            case _:
                return torch.maximum(-low, high) / (steps / 2)

    def zero_point_for(self, low: Tensor, scale: Tensor) -> Tensor | None:
        """``round(code_min − low/s)``, of :attr:`code_dtype`; ``None`` if symmetric."""
        if self.symmetric:
            return None
        exact = self.code_min - low.clamp(max=0) / scale
        return exact.round().clamp(self.code_min, self.code_max).to(self.code_dtype)

    def span(self, scale: Tensor, zero_point: Tensor | None) -> tuple[Tensor, Tensor]:
        """Values of the smallest and the largest code, in order."""
        zero = self._zero(zero_point)
        ends = scale * (self.code_min - zero), scale * (self.code_max - zero)
        return torch.minimum(*ends), torch.maximum(*ends)

    def encode(self, values: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``clip(round(values/s) + z)``."""
        codes = values.div(scale).round_().add_(self._zero(zero_point))
        return codes.clamp_(self.code_min, self.code_max).to(self.code_dtype)

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``s·(q − z)``, float32: exact up to one rounding of the product."""
        return codes.float().sub_(self._zero(zero_point)).mul_(scale)

    def _zero(self, zero_point: Tensor | None) -> Tensor | int:
        return self.offset if zero_point is None else zero_point.float()
