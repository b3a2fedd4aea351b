"""The bits of a stored float: IEEE 754, and bfloat16, which is the upper half of a float32."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.explaining.steps import shortest

# Bits of exponent and mantissa, and the integers that show all of them.
_LAYOUTS = {
    torch.bfloat16: (8, 7, torch.int16),
    torch.float16: (5, 10, torch.int16),
    torch.float32: (8, 23, torch.int32),
}


@dataclass(frozen=True)
class StoredFloat:
    """A float and its fields, each a string of binary digits.

    ``value = (-1)^sign · 2^(exponent - bias) · (1 + mantissa / 2^m)`` with ``m`` digits of
    mantissa; subnormal numbers, whose exponent is 0, have no ``1 +`` and the exponent 1.
    """

    dtype: str
    value: float
    sign: str
    exponent: str
    mantissa: str

    @property
    def bias(self) -> int:
        """What is subtracted from the stored exponent."""
        return (1 << (len(self.exponent) - 1)) - 1

    @property
    def bits(self) -> str:
        """``0 01111010 0010110``."""
        return f"{self.sign} {self.exponent} {self.mantissa}"

    @property
    def formula(self) -> str:
        """``2^(122 - 127) · (1 + 22 / 128)``."""
        exponent, mantissa = int(self.exponent, 2), int(self.mantissa, 2)
        if exponent == mantissa == 0:
            return "all bits 0 means 0"
        minus = "-" if self.sign == "1" else ""
        whole, power = ("1 + ", exponent) if exponent else ("", 1)
        digits = 1 << len(self.mantissa)
        return f"{minus}2^({power} - {self.bias}) · ({whole}{mantissa} / {digits})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def stored_float(value: Tensor) -> StoredFloat:
    """The bits of a finite scalar of type bfloat16, float16 or float32."""
    exponent, mantissa, integer = _LAYOUTS[value.dtype]
    width = 1 + exponent + mantissa
    bits = int(value.reshape(1).contiguous().view(integer)) & ((1 << width) - 1)
    text = f"{bits:0{width}b}"
    return StoredFloat(
        str(value.dtype).removeprefix("torch."),
        shortest(value)[0],
        text[0],
        text[1 : 1 + exponent],
        text[1 + exponent :],
    )
