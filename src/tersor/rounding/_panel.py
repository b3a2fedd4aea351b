"""Rows of a matrix as the native GPTQ solver takes them: tiles of 64 rows, transposed."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tersor import _native
from tersor.grids import Grid
from tersor.rounding._levels import sorted_levels
from tersor.rounding.hessian_factor import HessianFactor

_TILE_ROWS = 64
_PANEL_VALUES = 1 << 22
_Floats = NDArray[np.float32]


class _Arrays(TypedDict):
    original: _Floats
    targets: _Floats
    errors: _Floats
    codes: NDArray[np.uint8]
    feedback: _Floats


@dataclass(frozen=True, eq=False)
class Panel:
    """Rows on their way to codes.

    ``original``, ``targets``, ``errors`` (float32) and ``codes`` (uint8) are
    ``(tiles, in, 64)``, columns in the order of rounding; ``feedback`` is the Hessian's.
    """

    rows: int
    original: Tensor
    targets: Tensor
    errors: Tensor
    codes: Tensor
    feedback: Tensor

    @classmethod
    def of(cls, weight: Tensor, factor: HessianFactor) -> "Panel":
        """The panel of some rows ``(rows, in)`` of a matrix; any float type."""
        assert factor.feedback is not None
        original = _tiles(weight.float(), 0.0).index_select(1, factor.permutation)
        codes = torch.empty(original.shape, dtype=torch.uint8)
        return cls(
            len(weight),
            original,
            original.clone(),
            torch.empty_like(original),
            codes,
            factor.feedback,
        )

    def corrected(self, first: int, last: int) -> Tensor:
        """Weights that make up best for the errors before ``first``: ``(rows, last − first)``.

        They are what a scale is fitted to. What is rounded is ``targets``: a column's target also
        expects the errors that are made between ``first`` and it.
        """
        corrected = self.original[:, first:last]
        if first:
            corrected = torch.empty_like(corrected, memory_format=torch.contiguous_format)
            _native.gptq_feed(**self._arrays(), first=first, last=last, corrected=corrected.numpy())
        return corrected.transpose(1, 2).reshape(-1, last - first)[: self.rows]

    def foreseen(self, first: int, last: int) -> Tensor:
        """The same before the columns are reached: targets are left as they are."""
        here = (slice(None), slice(first, last))
        before = self.targets[here].clone()
        found = self.corrected(first, last)
        self.targets[here] = before
        return found

    def _arrays(self) -> _Arrays:
        return {
            "original": self.original.numpy(),
            "targets": self.targets.numpy(),
            "errors": self.errors.numpy(),
            "codes": self.codes.numpy(),
            "feedback": self.feedback.numpy(),
        }

    def round(
        self,
        first: int,
        last: int,
        block: int,
        grid: Grid,
        scale: Tensor,
        zero_point: Tensor | None,
    ) -> None:
        """Round columns ``first:last``, whose :meth:`corrected` was asked for before.

        ``scale``: float32 ``(rows, 1)``, or ``(rows, last − first)`` for a scale per column;
        ``zero_point``: likewise, of the code type, or float32 minima.
        """
        if grid.has_minima:
            assert zero_point is not None
            # What is left of the weights is a multiple of the scale; errors are the same.
            minima = _tiles(zero_point, 0.0)
            self.original[:, first:last] -= minima
            self.targets[:, first:last] -= minima
            zero_point = None
        panel = self._arrays()
        scales = _tiles(scale, 1.0).numpy()
        if (codes := grid.integers) is not None:
            zero = torch.full((1, 1), codes.zero) if zero_point is None else zero_point
            lowest = (codes.lowest - zero.float()).expand(scale.shape)
            top = codes.highest - codes.lowest
            _native.gptq_integers(
                **panel,
                first=first,
                last=last,
                block=block,
                scale=scales,
                lowest=_tiles(lowest, 0.0).numpy(),
                top=top,
                first_code=codes.lowest,
            )
        else:
            table = sorted_levels(grid)
            _native.gptq_levels(
                **panel,
                first=first,
                last=last,
                block=block,
                scale=scales,
                levels=table.levels.numpy(),
                boundaries=table.boundaries.numpy(),
                level_codes=table.codes.numpy(),
            )

    def stored_codes(self, permutation: Tensor, dtype: torch.dtype) -> Tensor:
        """The codes ``(rows, in)`` at the columns they belong to."""
        stored = self.codes.index_select(1, permutation.argsort()).transpose(1, 2)
        return stored.reshape(-1, len(permutation))[: self.rows].view(dtype)


def panels(rows: int, columns: int) -> list[slice]:
    """Slices of rows, few enough for the panel of each to be small beside a model's block."""
    step = max(1, _PANEL_VALUES // (columns * _TILE_ROWS)) * _TILE_ROWS
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _tiles(matrix: Tensor, fill: float) -> Tensor:
    """``(rows, columns)`` → ``(tiles, columns, 64)``, contiguous; missing rows hold ``fill``."""
    rows, columns = matrix.shape
    missing = -rows % _TILE_ROWS
    if missing:
        matrix = torch.nn.functional.pad(matrix, (0, 0, 0, missing), value=fill)
    return matrix.reshape(-1, _TILE_ROWS, columns).transpose(1, 2).contiguous()
