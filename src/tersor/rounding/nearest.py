"""Rounding to nearest (RTN): every weight gets the code closest to it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.grids import QuantizedTensor, ScaleStorage, StoredScale, TensorScheme
from tersor.grids.blocks import Segment, as_rows, row_chunks, segments
from tersor.ranges import Bounds, Observation, Range, RangeEstimator
from tersor.rounding._prepare import prepare
from tersor.rounding.method import BaseRounder, BaseRounding, Rounded


@dataclass(frozen=True)
class Nearest(BaseRounding):
    """Settings of rounding to nearest: there are none."""

    def bind(
        self, observed: Observation | None, schemes: Iterable[TensorScheme] = ()
    ) -> "NearestRounder":
        """Rounds matrices that read what was observed; what that is matters to ranges only."""
        del schemes
        return NearestRounder(observed)


@dataclass(frozen=True, eq=False)
class NearestRounder(BaseRounder):
    """Each range is bound to what was observed, if anything was."""

    observed: Observation | None

    def round(
        self, weight: Tensor, scheme: TensorScheme, range_: Range, scale_dtype: torch.dtype
    ) -> Rounded:
        """See :func:`nearest`."""
        bound = range_.bind(self.observed)
        rounded = nearest(
            weight,
            scheme,
            bound.estimator,
            scale_dtype=scale_dtype,
            importance=bound.importance,
        )
        return replace(rounded, note=bound.note)


def nearest(
    weight: Tensor,
    scheme: TensorScheme,
    estimator: RangeEstimator,
    *,
    scale_dtype: torch.dtype,
    importance: Tensor | None = None,
) -> Rounded:
    """Quantize a matrix ``(out, in)`` of any float type by rounding to nearest.

    ``scale_dtype``: float type for scales of format ``float``. ``importance``: ``(in,)`` float32
    weight of each column's squared error, for estimators that use one. Arithmetic is float32.

    Raises :class:`~tersor.errors.NonFiniteWeight` if the matrix holds NaN or infinity and
    :class:`~tersor.errors.SchemeError` if it is empty or a scale overflows ``scale_dtype``.
    """
    prepared = prepare(weight, scheme, scale_dtype)
    rows = as_rows(weight, scheme)
    chunks = [
        _round_rows(rows[chunk].float(), prepared.scheme, estimator, prepared.storage, importance)
        for chunk in row_chunks(*rows.shape)
    ]
    merged = _concatenate([piece for piece, _ in chunks], dim=0)
    bounds = tuple(torch.cat(ends) for ends in zip(*(b for _, b in chunks), strict=True))
    tensor = replace(
        merged,
        codes=merged.codes.reshape(weight.shape),
        scheme=scheme,
        codebook=prepared.codebook,
    )
    return Rounded(tensor, (bounds[0], bounds[1]))


def _round_rows(
    rows: Tensor,
    scheme: TensorScheme,
    estimator: RangeEstimator,
    storage: ScaleStorage,
    importance: Tensor | None,
) -> tuple[QuantizedTensor, Bounds]:
    pieces = [
        _round_segment(rows, segment, scheme, estimator, storage, importance)
        for segment in segments(scheme, rows.shape[1])
    ]
    tensor = _concatenate([piece for piece, _ in pieces], dim=1)
    low, high = (torch.cat(ends, dim=1) for ends in zip(*(b for _, b in pieces), strict=True))
    return tensor, (low, high)


def _round_segment(
    rows: Tensor,
    segment: Segment,
    scheme: TensorScheme,
    estimator: RangeEstimator,
    storage: ScaleStorage,
    importance: Tensor | None,
) -> tuple[QuantizedTensor, Bounds]:
    blocks = segment.blocks(rows)
    block_importance = None
    if importance is not None:
        tiled = importance.expand(rows.numel() // (len(rows) * len(importance)), -1)
        block_importance = segment.blocks(tiled.reshape(1, -1))
    fitted = estimator.fitted(blocks, scheme, storage, block_importance)
    parameters = fitted.parameters
    zero_point = parameters.zero_point
    codes = scheme.grid.encode(
        blocks,
        parameters.scale.value().unsqueeze(-1),
        None if zero_point is None else zero_point.unsqueeze(-1),
    )
    tensor = QuantizedTensor(codes.flatten(1), parameters.scale, zero_point, scheme)
    return tensor, fitted.bounds


def _concatenate(pieces: list[QuantizedTensor], dim: int) -> QuantizedTensor:
    first = pieces[0]
    if len(pieces) == 1:
        return first
    zero_points = [piece.zero_point for piece in pieces if piece.zero_point is not None]
    scale = torch.cat([piece.scale.data for piece in pieces], dim)
    return replace(
        first,
        codes=torch.cat([piece.codes for piece in pieces], dim),
        scale=StoredScale(scale, first.scale.format, first.scale.global_scale),
        zero_point=torch.cat(zero_points, dim) if zero_points else None,
    )
