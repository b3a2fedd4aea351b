"""What the formats share that name tensors as compressed-tensors does."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.formats.entry import Entry
from tersor.formats.format import Format
from tersor.formats.linear import InputParameters, QuantizedLinear
from tersor.formats.storage import codec
from tersor.formats.storage.known import storage_for
from tersor.grids import Scheme


class NamedTensors(Format):
    """Tensors by :mod:`tersor.formats.storage.codec`; the rest is left to the format."""

    suffixes = codec.SUFFIXES
    input_suffixes = ("input_scale", "input_zero_point")

    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        """Raises :class:`~tersor.errors.SchemeError` for a scheme that nothing stores."""
        return codec.layout(scheme, shape, dtype)

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """See :class:`Format`."""
        return codec.encode(linear)

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """See :class:`Format`."""
        return storage_for(scheme).shape(tensors, module)

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """See :class:`Format`."""
        return codec.decode(tensors, scheme, shape)

    def decode_input(self, tensors: Mapping[str, Tensor]) -> InputParameters | None:
        """``input_scale`` and ``input_zero_point``."""
        return codec.decode_input(tensors)
