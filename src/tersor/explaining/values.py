"""A few values, quantized in front of the reader."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tersor.errors import OptionError
from tersor.explaining.given import given_scale, given_values
from tersor.explaining.steps import Step, shortest, steps
from tersor.grids import (
    ErrorParts,
    Granularity,
    IntegerGrid,
    QuantizedTensor,
    ScaleFormat,
    StoredScale,
    Symmetry,
    TensorScheme,
    error_parts,
)
from tersor.grids.kinds.integer import WIDTHS
from tersor.options import Whole, limits
from tersor.ranges import MinMax
from tersor.rounding import nearest
from tersor.version import own_version


@dataclass(frozen=True)
class Explanation:
    """Values that share one scale, on their way to signed codes of ``bits`` bits and back.

    ``lowest``, ``highest``: the codes in use. ``low``, ``high``: smallest and largest value, to
    which the grid was fitted; ``None`` if the scale was given. ``zero_point``: ``None`` if the grid
    is symmetric. ``reach``: the values of these codes. ``parts``: of the mean squared error.
    """

    bits: int
    symmetric: bool
    lowest: int
    highest: int
    low: float | None
    high: float | None
    scale: float
    zero_point: int | None
    zero_point_given: bool
    reach: tuple[float, float]
    steps: tuple[Step, ...]
    parts: ErrorParts

    @property
    def worst(self) -> Step:
        """The first of the values with the largest error."""
        return max(self.steps, key=lambda step: abs(step.error))

    @property
    def codes_used(self) -> int:
        """How many different codes the values got."""
        return len({step.code for step in self.steps})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a ratio that is infinite because nothing was lost is ``None``."""
        lossless = self.parts.mse <= 0
        return {
            "version": own_version(),
            "bits": self.bits,
            "symmetric": self.symmetric,
            "lowest_code": self.lowest,
            "highest_code": self.highest,
            "low": self.low,
            "high": self.high,
            "scale": self.scale,
            "zero_point": self.zero_point,
            "reach": list(self.reach),
            "values": [step.to_dict() for step in self.steps],
            "mse": self.parts.mse,
            "rounding": self.parts.rounding,
            "clipping": self.parts.clipping,
            "zero_point_error": self.parts.zero_point,
            "largest_error": self.parts.largest,
            "sqnr_db": None if lossless or self.parts.signal <= 0 else self.parts.sqnr_db,
        }


def explain_values(
    values: Any,
    bits: int = 8,
    *,
    asymmetric: bool = False,
    scale: Any = None,
    zero_point: int | None = None,
) -> Explanation:
    """Quantize ``values``, which share one scale, and keep every step.

    ``values``: text with commas, or numbers; at least one. ``scale``: used as it is; without it,
    the one that puts the grid over the values. ``zero_point``: the signed code of 0, used as it is
    beside a given scale. Scales are float32.

    Raises :class:`~tersor.errors.OptionError` and :class:`~tersor.errors.SchemeError`.
    """
    symmetry = Symmetry.NONE if asymmetric else Symmetry.RESTRICTED
    grid = IntegerGrid(_checked_bits(bits), symmetry)
    row = given_values("values", values).reshape(1, -1)
    scheme = TensorScheme(grid, Granularity.TENSOR)
    step = None if scale is None else torch.tensor([[given_scale("scale", scale)]])
    zero = _checked_zero_point(grid, zero_point, given_scale=step is not None)
    if step is None:
        rounded = nearest(row, scheme, MinMax(), scale_dtype=torch.float32)
        return _explained(row, rounded.tensor, rounded.bounds, grid, False)
    if zero is None:
        zero = grid.zero_point_for(row.amin().reshape(1, 1), step)
    codes = grid.encode(row, step, zero)
    tensor = QuantizedTensor(codes, StoredScale(step, ScaleFormat.FLOAT), zero, scheme)
    return _explained(row, tensor, None, grid, zero_point is not None)


def _explained(
    row: Tensor,
    tensor: QuantizedTensor,
    bounds: tuple[Tensor, Tensor] | None,
    grid: IntegerGrid,
    zero_point_given: bool,
) -> Explanation:
    step = tensor.scale.value().reshape(())
    zero = None if tensor.zero_point is None else tensor.zero_point.reshape(())
    ends = None if bounds is None else (bounds[0].reshape(()), bounds[1].reshape(()))
    reach = grid.span(step, zero)
    low, high = (None, None) if ends is None else (shortest(ends[0])[0], shortest(ends[1])[0])
    return Explanation(
        grid.bits,
        grid.symmetric,
        grid.code_min,
        grid.code_max,
        low,
        high,
        shortest(step)[0],
        None if zero is None else int(zero),
        zero_point_given,
        (shortest(reach[0])[0], shortest(reach[1])[0]),
        steps(grid, row[0], step, zero, ends),
        error_parts(row, tensor, bounds),
    )


def _checked_bits(given: Any) -> int:
    bits = limits.BITS(given)
    if bits not in WIDTHS:
        *others, last = map(str, WIDTHS)
        raise OptionError("bits", f"must be {', '.join(others)} or {last}, not {bits}")
    return bits


def _checked_zero_point(grid: IntegerGrid, given: Any, *, given_scale: bool) -> Tensor | None:
    if given is None:
        return None
    if grid.symmetric:
        raise OptionError(
            "zero_point",
            "belongs to asymmetric grids, that of others being 0; give {} too",
            "asymmetric",
        )
    if not given_scale:
        raise OptionError("zero_point", "belongs to a scale; give {} too", "scale")
    low, high = grid.code_min, grid.code_max
    why = f"codes are signed: for unsigned ones the same zero point is {-low} more"
    checked = Whole("zero_point", low, high, why)(given)
    return torch.tensor([[checked]], dtype=grid.code_dtype)
