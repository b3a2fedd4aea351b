"""Codes of 8 bits as they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.formats.entry import Entry, shape_of_codes
from tersor.formats.storage.kind import Storage, as_signed, of_code_type
from tersor.grids import QuantizedTensor, ScaleFormat, Scheme, TensorScheme


class Int8(Storage):
    """``weight`` int8, for linears whose activations are quantized too."""

    def holds(self, scheme: Scheme) -> bool:
        """8-bit integers."""
        weights = scheme.weights
        return (
            weights.grid.integers is not None
            and weights.grid.bits == 8
            and scheme.activations is not None
        )

    def codes(self, weights: TensorScheme, shape: tuple[int, int]) -> dict[str, Entry]:
        """``weight``."""
        return {"weight": Entry(torch.int8, shape)}

    def encode(self, weight: QuantizedTensor) -> dict[str, Tensor]:
        """Two's complement."""
        return {"weight": as_signed(weight.codes, 8)}

    def decode(
        self, tensors: Mapping[str, Tensor], weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """As the grid has them."""
        return of_code_type(tensors["weight"], weights.grid.code_dtype, 8)

    def shape(self, tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
        """That of ``weight``."""
        return shape_of_codes(tensors, "weight", module)


@dataclass(frozen=True)
class Float8(Storage):
    """``weight`` float8. ``activations``: for linears whose activations are quantized too."""

    activations: bool

    def holds(self, scheme: Scheme) -> bool:
        """Codes that are floats themselves."""
        weights = scheme.weights
        return (
            weights.grid.code_dtype.is_floating_point
            and weights.scale_format is ScaleFormat.FLOAT
            and (scheme.activations is not None) == self.activations
        )

    def codes(self, weights: TensorScheme, shape: tuple[int, int]) -> dict[str, Entry]:
        """``weight``."""
        return {"weight": Entry(weights.grid.code_dtype, shape)}

    def encode(self, weight: QuantizedTensor) -> dict[str, Tensor]:
        """The codes."""
        return {"weight": weight.codes}

    def decode(
        self, tensors: Mapping[str, Tensor], weights: TensorScheme, shape: tuple[int, int]
    ) -> Tensor:
        """The codes."""
        return tensors["weight"]

    def shape(self, tensors: Mapping[str, Tensor], module: str) -> tuple[int, int]:
        """That of ``weight``."""
        return shape_of_codes(tensors, "weight", module)
