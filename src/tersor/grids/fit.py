"""From a range to the parameters that are stored: scale and zero point."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.grids.scales import (
    ScaleFormat,
    StoredScale,
    store_e4m3,
    store_e8m0,
    store_float,
)
from tersor.grids.scheme import TensorScheme


@dataclass(frozen=True)
class ScaleStorage:
    """What is known about scale storage before any range is.

    ``dtype``: float type for scale format ``float``.
    ``global_scale``: float32 ``(1,)`` for scale format ``e4m3``.
    """

    dtype: torch.dtype
    global_scale: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Parameters:
    """Scale as stored, and zero point or ``None``; both ``(rows, groups)``."""

    scale: StoredScale
    zero_point: Tensor | None


def fit(scheme: TensorScheme, low: Tensor, high: Tensor, storage: ScaleStorage) -> Parameters:
    """Parameters that make the scheme's grid span ``[low, high]``.

    ``low``, ``high``: float32 ``(rows, groups)``. The zero point is computed from the scale as
    stored. Raises :class:`~tersor.errors.SchemeError` if a scale overflows its type.
    """
    match scheme.scale_format:
        case ScaleFormat.E8M0:
            scale = store_e8m0(torch.maximum(-low, high))
        case ScaleFormat.E4M3:
            assert storage.global_scale is not None
            scale = store_e4m3(scheme.grid.scale_for(low, high), storage.global_scale)
        case _:
            scale = store_float(scheme.grid.scale_for(low, high), storage.dtype)
    return Parameters(scale, scheme.grid.zero_point_for(low, scale.value()))
