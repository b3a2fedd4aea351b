"""From a range to the parameters that are stored: scale and zero point."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.grids.scales import (
    ScaleFormat,
    StoredScale,
    nonzero_float16,
    store_e4m3,
    store_e8m0,
    store_float,
    store_float16,
)
from tersor.grids.scheme import TensorScheme
from tersor.grids.super_blocks import SuperScales, stored_minima, stored_scales, super_scales


@dataclass(frozen=True)
class ScaleStorage:
    """What is known about scale storage before any range is.

    ``dtype``: float type for scale format ``float``.
    ``global_scale``: float32 ``(1,)`` for scale format ``e4m3``.
    ``above``: the upper level of scales of two levels, if it is known before the lower one.
    """

    dtype: torch.dtype
    global_scale: Tensor | None = None
    above: SuperScales | None = None


@dataclass(frozen=True, eq=False)
class Parameters:
    """Scale as stored, and zero point or ``None``; both ``(rows, groups)``.

    ``above``: the upper level of scales of two levels.
    """

    scale: StoredScale
    zero_point: Tensor | None
    above: SuperScales | None = None


def fit(scheme: TensorScheme, low: Tensor, high: Tensor, storage: ScaleStorage) -> Parameters:
    """Parameters that make the scheme's grid span ``[low, high]``.

    ``low``, ``high``: float32 ``(rows, groups)``, of scales of two levels those of whole
    super-blocks, or of groups of one of them whose upper level is known. The zero point is computed
    from the scale as stored. Raises :class:`~tersor.errors.SchemeError` if a scale overflows its
    type.
    """
    match scheme.scale_format:
        case ScaleFormat.E8M0:
            scale = store_e8m0(torch.maximum(-low, high))
        case ScaleFormat.E4M3:
            assert storage.global_scale is not None
            scale = store_e4m3(scheme.grid.scale_for(low, high), storage.global_scale)
        case ScaleFormat.FLOAT16:
            scale = store_float16(scheme.grid.scale_for(low, high))
        case ScaleFormat.FLOAT:
            scale = store_float(scheme.grid.scale_for(low, high), storage.dtype)
        case _:
            return _fit_two_levels(scheme, low, high, storage.above)
    zero_point = scheme.grid.zero_point_for(low, scale.value())
    if scheme.grid.has_minima and scheme.scale_format is ScaleFormat.FLOAT16:
        assert zero_point is not None
        zero_point = nonzero_float16(zero_point).float()
    return Parameters(scale, zero_point)


def _fit_two_levels(
    scheme: TensorScheme, low: Tensor, high: Tensor, above: SuperScales | None
) -> Parameters:
    has_minima = scheme.grid.has_minima
    if has_minima:  # they are not above 0
        low, high = low.clamp(max=0), high.clamp(min=0)
    wanted = scheme.grid.scale_for(low, high)
    if above is None:
        above = super_scales(scheme, wanted, low if has_minima else None)
    minima = stored_minima(scheme, low, above) if has_minima else None
    return Parameters(stored_scales(scheme, wanted, above), minima, above)
