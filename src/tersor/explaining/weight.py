"""One weight of a matrix on its way: stored float → group → scale → code → back."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.explaining.steps import Step, code_numbers, shortest, steps_to
from tersor.explaining.stored import StoredFloat, stored_float
from tersor.grids import (
    ErrorParts,
    Granularity,
    Grid,
    QuantizedTensor,
    TensorScheme,
    error_parts,
)
from tersor.grids.blocks import row_chunks
from tersor.options import Whole
from tersor.ranges import Bounds


@dataclass(frozen=True)
class Group:
    """The weights that share a scale with one: columns ``start:stop`` of its row, or of all rows.

    ``low``, ``high``: smallest and largest of them; ``range_low``, ``range_high``: where the grid
    was to begin and end; ``None`` if that is not known. ``exact_scale``: the scale of that range,
    before it was stored. ``members``: all of them, float32, if they are of one row; for pictures,
    not part of the document.
    """

    start: int
    stop: int
    all_rows: bool
    low: float | None
    high: float | None
    range_low: float | None
    range_high: float | None
    exact_scale: float | None
    members: Tensor | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "start": self.start,
            "stop": self.stop,
            "all_rows": self.all_rows,
            "low": self.low,
            "high": self.high,
            "range_low": self.range_low,
            "range_high": self.range_high,
            "exact_scale": self.exact_scale,
        }


@dataclass(frozen=True)
class WeightPath:
    """The way of one weight of a matrix ``(out, in)``.

    ``grid``: that of ``scheme``, with the levels of this matrix if they were fitted to it.
    ``stored``: as the original has it, and ``step`` its way through the grid, ``matrix`` what the
    whole matrix lost; ``None`` without the original. ``scale_type``: of the stored scale. ``code``
    and ``restored`` are what the quantized tensor has; ``nearest_code`` is the code nearest to the
    weight, which a method that looks further may not have chosen.
    """

    row: int
    column: int
    shape: tuple[int, int]
    scheme: TensorScheme
    grid: Grid
    stored: StoredFloat | None
    group: Group
    scale: float
    scale_type: str
    zero_point: int | None
    code: int
    nearest_code: int | None
    restored: float
    step: Step | None
    matrix: ErrorParts | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        lost = self.matrix
        return {
            "row": self.row,
            "column": self.column,
            "shape": list(self.shape),
            "scheme": str(self.scheme),
            "stored": None if self.stored is None else self.stored.to_dict(),
            "group": self.group.to_dict(),
            "scale": self.scale,
            "scale_type": self.scale_type,
            "zero_point": self.zero_point,
            "code": self.code,
            "nearest_code": self.nearest_code,
            "restored": self.restored,
            "step": None if self.step is None else self.step.to_dict(),
            "matrix": None
            if lost is None
            else {
                "mse": lost.mse,
                "rounding": lost.rounding,
                "clipping": lost.clipping,
                "zero_point": lost.zero_point,
                "largest_error": lost.largest,
                "sqnr_db": lost.sqnr_db if isfinite(lost.sqnr_db) else None,
            },
        }


def checked_place(
    shape: tuple[int, int], row: int | None, column: int | None, matrix: str
) -> tuple[int | None, int | None]:
    """Row and column inside ``shape``. Raises :class:`OptionError` naming ``matrix``."""
    why = f"{matrix} has {shape[0]} rows and {shape[1]} columns"
    return (
        Whole("row", 0, shape[0] - 1, why).or_none(row),
        Whole("column", 0, shape[1] - 1, why).or_none(column),
    )


def largest_error(
    weight: Tensor, quantized: QuantizedTensor, row: int | None = None, column: int | None = None
) -> tuple[int, int]:
    """Where ``weight (out, in)`` lost most, in the given row or column or anywhere; the first."""
    best, place = -1.0, (row or 0, column or 0)
    columns = slice(None) if column is None else slice(column, column + 1)
    chunks = row_chunks(*quantized.shape) if row is None else [slice(row, row + 1)]
    for rows in chunks:
        restored = quantized.rows(rows.start, rows.stop).dequantize()
        lost = (weight[rows].float() - restored)[:, columns].abs()
        largest = float(lost.amax())
        if largest > best:
            at, behind = divmod(int(lost.argmax()), lost.shape[1])
            best, place = largest, (rows.start + at, behind + (column or 0))
    return place


def follow(
    quantized: QuantizedTensor,
    row: int,
    column: int,
    weight: Tensor | None = None,
    bounds: Bounds | None = None,
) -> WeightPath:
    """The way of the weight at ``row`` and ``column``.

    ``weight``: the original ``(out, in)``, as stored. ``bounds``: the range that the grid was
    fitted to, shaped like the scale. Raises :class:`SchemeError` for a grid with minima.
    """
    scheme, grid = quantized.scheme, quantized.grid
    if grid.has_minima:
        raise SchemeError(f"there are no words for a minimum yet, which {grid.name} has")
    size = scheme.group_size or quantized.shape[1]
    at = (0 if scheme.granularity is Granularity.TENSOR else row, column // size)
    scale = quantized.scale.value()[at]
    zero = None if quantized.zero_point is None else quantized.zero_point[at]
    codes = quantized.codes[row, column].reshape(1)
    ends = None if bounds is None else (bounds[0][at], bounds[1][at])
    step = nearest = None
    if weight is not None:
        value = weight[row, column].float().reshape(1)
        step = steps_to(grid, value, codes, scale, zero, ends)[0]
        nearest = code_numbers(grid.encode(value, scale, zero))[0]
    start = column // size * size
    return WeightPath(
        row,
        column,
        quantized.shape,
        scheme,
        grid,
        None if weight is None else stored_float(weight[row, column]),
        _group(quantized, row, start, min(start + size, quantized.shape[1]), weight, ends),
        shortest(scale)[0],
        str(quantized.scale.data.dtype).removeprefix("torch."),
        None if zero is None else int(zero),
        code_numbers(codes)[0],
        nearest,
        shortest(grid.decode(codes, scale, zero))[0],
        step,
        None if weight is None else error_parts(weight, quantized, bounds),
    )


def _group(
    quantized: QuantizedTensor,
    row: int,
    start: int,
    stop: int,
    weight: Tensor | None,
    ends: Bounds | None,
) -> Group:
    all_rows = quantized.scheme.granularity is Granularity.TENSOR
    low = high = members = None
    if weight is not None:
        shared = weight if all_rows else weight[row, start:stop]
        low, high = shortest(torch.stack(shared.aminmax()))
        members = None if all_rows else shared.float()
    if ends is None:
        return Group(start, stop, all_rows, low, high, None, None, None, members)
    exact = quantized.grid.scale_for(*ends)
    range_low, range_high, scale = shortest(torch.stack((*ends, exact)))
    return Group(start, stop, all_rows, low, high, range_low, range_high, scale, members)
