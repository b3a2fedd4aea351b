"""8-bit floats E4M3 and E5M2: Micikevicius et al., https://arxiv.org/abs/2209.05433.

The codes are torch's ``float8`` values, so a code and its meaning are the same number.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids.grid import BaseGrid

_DTYPES = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}


@dataclass(frozen=True)
class FloatGrid(BaseGrid):
    """``fp8_e4m3`` (largest value 448, no infinities) or ``fp8_e5m2`` (57344)."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in _DTYPES:
            raise SchemeError(f"no float grid {self.name!r}; use one of {', '.join(_DTYPES)}")

    @property
    def bits(self) -> int:
        """8."""
        return 8

    @property
    def code_dtype(self) -> torch.dtype:
        """The float8 type."""
        return _DTYPES[self.name]

    @property
    def levels(self) -> tuple[float, ...]:
        """The value of every byte; NaN and infinities among them."""
        every = torch.arange(256).to(torch.uint8).view(self.code_dtype)
        return tuple(every.float().tolist())

    @property
    def largest(self) -> float:
        """Largest finite value."""
        return torch.finfo(self.code_dtype).max

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        """``amax / largest``."""
        return torch.maximum(-low, high).clamp(min=0) / self.largest

    def span(self, scale: Tensor, zero_point: Tensor | None) -> tuple[Tensor, Tensor]:
        """``± largest · s``."""
        return -scale * self.largest, scale * self.largest

    def encode(self, values: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """Nearest float8, ties to even; beyond the largest value it saturates."""
        return (values / scale).clamp_(-self.largest, self.largest).to(self.code_dtype)

    def decode(self, codes: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """``codes · s``, float32."""
        return codes.float().mul_(scale)
