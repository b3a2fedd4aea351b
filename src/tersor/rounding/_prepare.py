"""What every rounding method settles before it looks at a single group."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.errors import NonFiniteWeight, SchemeError
from tersor.grids import ScaleFormat, ScaleStorage, TensorScheme
from tersor.grids.blocks import as_rows, segments
from tersor.grids.kinds.lloyd import fit_levels
from tersor.grids.scales import global_scale_for


@dataclass(frozen=True, eq=False)
class Prepared:
    """``scheme``: the scheme with this matrix's own levels if its codebook is fitted, and
    ``codebook`` those levels, float32 ``(levels,)``; ``storage``: how its scales are stored.
    """

    scheme: TensorScheme
    storage: ScaleStorage
    codebook: Tensor | None


def prepare(weight: Tensor, scheme: TensorScheme, scale_dtype: torch.dtype) -> Prepared:
    """Look at a whole matrix ``(out, in)`` of any float type.

    Raises :class:`NonFiniteWeight` if it holds NaN or infinity and :class:`SchemeError` if it is
    empty.
    """
    storage = ScaleStorage(scale_dtype, _global_scale(_amax(weight), scheme))
    grid = scheme.grid
    if not grid.fitted:
        return Prepared(scheme, storage, None)
    codebook = _fit_codebook(as_rows(weight, scheme), scheme, grid.bits)
    concrete = replace(scheme, grid=grid.with_levels(tuple(codebook.tolist())))
    return Prepared(concrete, storage, codebook)


def _amax(weight: Tensor) -> Tensor:
    """Largest magnitude, float32 scalar; refuses what no grid can hold."""
    if weight.ndim != 2 or weight.numel() == 0:
        raise SchemeError(
            f"a tensor of shape {tuple(weight.shape)} is no matrix to quantize; exclude it"
        )
    low, high = weight.aminmax()
    amax = torch.maximum(-low, high).float()
    if not bool(amax.isfinite()):
        raise NonFiniteWeight("the weight holds NaN or infinity")
    return amax


def _global_scale(amax: Tensor, scheme: TensorScheme) -> Tensor | None:
    return global_scale_for(amax) if scheme.scale_format is ScaleFormat.E4M3 else None


def _fit_codebook(rows: Tensor, scheme: TensorScheme, bits: int) -> Tensor:
    """Levels fitted to the values in units of their group's largest magnitude."""
    scaled = []
    for segment in segments(scheme, rows.shape[1]):
        blocks = segment.blocks(rows).float()
        amax = blocks.abs().amax(-1, keepdim=True)
        scaled.append((blocks / amax.where(amax > 0, 1.0)).flatten())
    return torch.tensor(fit_levels(torch.cat(scaled), bits))
