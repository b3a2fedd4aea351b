"""How a scale is stored, and what it is worth after storing.

Codes are always computed with the scale as it will be read back: rounding the scale afterwards
would move every level of the grid. Scales of two levels, integers times a number that several
groups share, are in :mod:`tersor.grids.super_blocks`.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from tersor.errors import SchemeError

E2M1_MAX = 6.0
E4M3_MAX = 448.0
_E8M0_BIAS = 127
# Below, float16 is subnormal with less than the 8 significant bits that bfloat16 always has.
_FLOAT16_SMALLEST = 2.0**-17


class ScaleFormat(StrEnum):
    """Number format of the scales of one tensor."""

    FLOAT = "float"
    """The floating type of the model; float32 where that is float16 and cannot hold them."""
    E8M0 = "e8m0"
    """A power of two in one byte: OCP Microscaling formats v1.0, section 5.4.1."""
    E4M3 = "e4m3"
    """FP8, relative to one float32 scale of the tensor (NVFP4)."""
    FLOAT16 = "float16"
    """A float16 number in models of every type, and minima likewise: llama.cpp's blocks of 32."""
    U4 = "u4"
    """4 bits without a sign, times a float16 number of 256 columns; minima likewise: Q2_K."""
    U6 = "u6"
    """The same with 6 bits: Q4_K, Q5_K."""
    S6 = "s6"
    """6 bits with a sign, times a float16 number of 256 columns: Q3_K."""
    S8 = "s8"
    """The same with 8 bits: Q6_K."""

    @property
    def levels(self) -> tuple[int, int] | None:
        """Smallest and largest integer of scales of two levels; ``None`` for any other scale."""
        return _LEVELS.get(self)


_LEVELS = {
    ScaleFormat.U4: (0, 15),
    ScaleFormat.U6: (0, 63),
    ScaleFormat.S6: (-32, 31),
    ScaleFormat.S8: (-128, 127),
}
SUPER_BLOCK = 256
"""Columns that share the upper level of scales of two levels."""


@dataclass(frozen=True, eq=False)
class StoredScale:
    """A scale as stored; ``value()`` is what it is worth.

    ``data``: ``(rows, groups)`` of a float type, uint8 exponents or float8; of scales of two levels
    the products, float32.
    ``global_scale``: float32 ``(1,)``, only for E4M3; a *divisor*, as compressed-tensors has it.
    """

    data: Tensor
    format: ScaleFormat
    global_scale: Tensor | None = None

    def value(self) -> Tensor:
        """Float32 ``(rows, groups)``."""
        match self.format:
            case ScaleFormat.E8M0:
                return torch.ldexp(torch.ones(self.data.shape), self.data.int() - _E8M0_BIAS)
            case ScaleFormat.E4M3:
                assert self.global_scale is not None
                return self.data.float() / self.global_scale
            case _:
                return self.data.float()


def global_scale_for(amax: Tensor) -> Tensor:
    """NVFP4's scale of the whole tensor: maps the largest group scale onto FP8's largest value.

    ``amax``: largest magnitude of the tensor, scalar. Returns float32 ``(1,)``, at most 2^117: with
    a larger divisor the smallest scale, 2^−9, would mean a subnormal number.
    """
    amax = amax.float().reshape(1)
    scale = (E4M3_MAX * E2M1_MAX / amax).clamp(max=2.0**117)
    return torch.where(amax > 0, scale, torch.ones(1))


def store_float(scale: Tensor, dtype: torch.dtype) -> StoredScale:
    """Round scales to a float type, or to float32 if that is float16 and cannot hold one of them.

    An empty range (scale 0) is stored as 1: every code of such a group means 0 anyway. float16
    holds what it has at least bfloat16's 8 significant bits for: 7.6e-6 to 65504. The subnormal
    numbers among these are safe, unlike those of wider types: processors convert and multiply
    float16 without flushing them. A bfloat16 or float32 scale below the smallest normal number
    becomes that number, since engines that flush subnormal numbers to zero would lose the group.

    Raises :class:`SchemeError` if a scale overflows the type.
    """
    scale = scale.where(scale != 0, 1.0)
    if dtype is torch.float16:
        dtype = torch.float16 if fits_float16(scale) else torch.float32
    if dtype is not torch.float16:
        tiny = torch.finfo(dtype).tiny
        floor = torch.where(scale < 0, -tiny, tiny)
        scale = torch.where(scale.abs() < tiny, floor, scale)
    stored = scale.to(dtype)
    if not bool(stored.isfinite().all()):
        raise SchemeError(
            f"a scale of {scale.abs().max().item():.3g} does not fit {dtype}; "
            "convert the model to float32 first"
        )
    return StoredScale(stored, ScaleFormat.FLOAT)


def store_float16(scale: Tensor) -> StoredScale:
    """Round scales to float16, and none to 0; an empty range (scale 0) is stored as 1.

    Raises :class:`SchemeError` if one is too large.
    """
    return StoredScale(nonzero_float16(scale.where(scale != 0, 1.0)), ScaleFormat.FLOAT16)


def nonzero_float16(values: Tensor) -> Tensor:
    """Nearest float16 numbers, the smallest ones in place of 0 where ``values`` are not 0.

    Raises :class:`SchemeError` if a value is too large.
    """
    stored = values.to(torch.float16)
    if not bool(stored.isfinite().all()):
        raise SchemeError(
            f"a scale of {values.abs().max().item():.3g} does not fit float16, which this format "
            "always has"
        )
    smallest = torch.tensor(2.0**-24, dtype=torch.float16)
    lost = (stored == 0) & (values != 0)
    return torch.where(lost, smallest.copysign(values.to(torch.float16)), stored)


def fits_float16(scale: Tensor) -> bool:
    """Whether float16 holds all of ``scale``, none of which is 0, to 8 significant bits."""
    size = scale.abs()
    held = (size >= _FLOAT16_SMALLEST) & (size <= torch.finfo(torch.float16).max)
    return bool(held.all())


def store_e8m0(amax: Tensor, largest_exponent: int = 2) -> StoredScale:
    """Power-of-two scales from the largest magnitudes ``(rows, groups)``.

    ``2^(floor(log2 amax) − largest_exponent)``, where E2M1's largest exponent is 2 (OCP v1.0,
    section 6.3): what lies between 6 and 8 times the scale is clipped. Empty ranges get exponent 0.
    """
    exponent = torch.frexp(amax.float()).exponent - 1 - largest_exponent
    exponent = torch.where(amax > 0, exponent, 0).clamp(-_E8M0_BIAS, _E8M0_BIAS)
    return StoredScale((exponent + _E8M0_BIAS).to(torch.uint8), ScaleFormat.E8M0)


def store_e4m3(scale: Tensor, global_scale: Tensor) -> StoredScale:
    """FP8 scales relative to a global one; never 0, so that no division by zero can follow."""
    smallest = 2.0**-9
    relative = (scale * global_scale).clamp(smallest, E4M3_MAX)
    return StoredScale(relative.to(torch.float8_e4m3fn), ScaleFormat.E4M3, global_scale)
