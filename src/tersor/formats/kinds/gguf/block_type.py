"""What a type of blocks can do, whose values are integers times scales, perhaps with minima."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.formats.kinds.gguf.bits import Bytes
from tersor.grids import Granularity, Grid, ScaleFormat, Scheme, TensorScheme

_BY_NAME = {known.name: known for known in BLOCK_TYPES.values()}


class Parameters(NamedTuple):
    """Of some blocks. ``scales``: ``(blocks, groups)``, float16, float32 or exponents, uint8.

    ``minima``: float32, likewise, or ``None``.
    """

    scales: NDArray[Any]
    minima: NDArray[np.float32] | None = None


class Blocks(ABC):
    """One type of blocks. ``name``: llama.cpp's; ``group``: how many values share a scale."""

    name: ClassVar[str]
    grid: ClassVar[Grid]
    group: ClassVar[int]
    scale_format: ClassVar[ScaleFormat] = ScaleFormat.FLOAT

    @property
    def scheme(self) -> Scheme:
        """What its codes, scales and minima mean."""
        return Scheme(TensorScheme(self.grid, Granularity.GROUP, self.group, self.scale_format))

    def takes_scales(self, given: ScaleFormat) -> bool:
        """Whether scales of a format may be stored here, if their values fit."""
        plain = given is ScaleFormat.FLOAT and self.scale_format is not ScaleFormat.E8M0
        return plain or given is self.scale_format

    @property
    def products(self) -> bool:
        """Whether scales and minima are products of a float16 number and small integers."""
        return self.scale_format.levels is not None

    @property
    def values(self) -> int:
        """Of a block."""
        return _BY_NAME[self.name].values

    @property
    def bits(self) -> float:
        """Stored for a value."""
        return 8 * _BY_NAME[self.name].nbytes / self.values

    def columns(self, row_bytes: int) -> int:
        """Values of a row of so many bytes; 0 if these are no whole blocks."""
        _, values, nbytes = _BY_NAME[self.name]
        return 0 if row_bytes % nbytes else row_bytes // nbytes * values

    def row_bytes(self, columns: int) -> int:
        """Inverse of :meth:`columns`."""
        return columns // self.values * _BY_NAME[self.name].nbytes

    def blocks(self, rows: Bytes) -> Bytes:
        """Rows of bytes ``(out, bytes)`` → blocks ``(out · blocks of a row, bytes)``."""
        return rows.reshape(-1, _BY_NAME[self.name].nbytes)

    @abstractmethod
    def parameters(self, blocks: Bytes) -> Parameters:
        """Scales and minima of every group."""

    @abstractmethod
    def codes(self, blocks: Bytes) -> NDArray[Any]:
        """Codes ``(blocks, values)`` of the grid's code type."""

    @abstractmethod
    def encode(self, parameters: Parameters, codes: NDArray[Any]) -> Bytes:
        """Inverse of :meth:`parameters` and :meth:`codes`, in numbers: blocks ``(blocks, bytes)``.

        Raises :class:`SchemeError` for scales and minima that the type does not hold exactly.
        """
