"""What a format stores of one linear, and what comes back."""

from dataclasses import dataclass

from torch import Tensor

from tersor.grids import QuantizedTensor, Scheme


@dataclass(frozen=True, eq=False)
class InputParameters:
    """Scale ``(1,)`` in the model's float type and int8 zero point ``(1,)`` of a static input."""

    scale: Tensor
    zero_point: Tensor | None


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """Weight, and for static activations the parameters of the input."""

    weight: QuantizedTensor
    scheme: Scheme
    input: InputParameters | None = None
