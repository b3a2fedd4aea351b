"""GPTQ: round column after column, and let the columns that follow make up for the errors.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
https://arxiv.org/abs/2210.17323; the paper appeared at ICLR 2023 under the title "OPTQ".

A linear's output error is ``tr(ΔW H ΔWᵀ)`` with ``H = E[x xᵀ]``. Once a column is rounded, that
is minimised over all later columns, which moves each of them by a multiple of the column's own
error; :mod:`tersor.rounding.hessian_factor` has the multiples. Then the next column is rounded.

The scale of a group is fitted when the group is reached, to weights that hold all corrections up to
there. (The paper's own implementation takes weights that lack those of the current block of 128.)
The upper level of scales of two levels is fitted when its super-block is reached.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import (
    Parameters,
    QuantizedTensor,
    ScaleStorage,
    StoredScale,
    SuperScales,
    TensorScheme,
)
from tersor.grids.scales import SUPER_BLOCK
from tersor.ranges import Drift, Fitted, Need, Needs, Observation, Range, RangeEstimator
from tersor.rounding._panel import Panel, panels
from tersor.rounding._prepare import Prepared, prepare
from tersor.rounding.drift import corrected_target
from tersor.rounding.hessian_factor import HessianFactor, Order, hessian_factor
from tersor.rounding.method import BaseRounding, Rounded
from tersor.rounding.nearest import nearest


@dataclass(frozen=True)
class Gptq(BaseRounding):
    """Settings.

    ``damping``: share of the mean diagonal that is added to the Hessian's diagonal. ``order``: see
    :data:`~tersor.rounding.hessian_factor.Order`; with ``activation`` all scales come from the
    original weights. ``block``: columns between two catch-ups of the others, which costs or saves
    time and changes no bit of the result. ``drift``: aim at what the original model computes,
    instead of what the original weight makes of inputs that the quantized blocks before it have
    changed (:mod:`tersor.rounding.drift`); it costs a second forward of every block.
    ``drift_damping``: share of the mean diagonal that keeps that correction small where inputs are.
    """

    damping: float = 0.01
    order: Order = "group"
    block: int = 128
    drift: bool = False
    drift_damping: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.damping <= 1:
            raise RecipeError(f"rounding gptq: damping {self.damping} is not within [0, 1]")
        if not self.drift_damping > 0:
            raise RecipeError(f"rounding gptq: drift_damping {self.drift_damping} is not above 0")
        if self.order not in get_args(Order):
            orders = ", ".join(get_args(Order))
            raise RecipeError(f"rounding gptq: no order {self.order!r}; use one of {orders}")
        if self.block < 1:
            raise RecipeError(f"rounding gptq: block {self.block}; use 1 or more")

    @property
    def needs(self) -> Needs:
        """``E[x xᵀ]``, and for ``drift`` the original model."""
        drift = {Need.DRIFT} if self.drift else set()
        return frozenset({Need.SECOND_MOMENTS} | drift)

    @property
    def binds(self) -> Needs:
        """``E[x_j²]``: more cannot be said of weights that change while others are rounded."""
        return frozenset({Need.MEAN_SQUARE})

    def bind(self, observed: Observation | None, schemes: Iterable[TensorScheme]) -> "GptqRounder":
        """Factorize the Hessian once for each group size."""
        assert observed is not None
        hessian = observed.hessian
        assert hessian is not None
        sizes = {_sizes(scheme) for scheme in schemes}
        factors = {one: hessian_factor(hessian, self.damping, self.order, *one) for one in sizes}
        return GptqRounder(self, hessian, observed.drift, factors)


@dataclass(frozen=True, eq=False)
class GptqRounder:
    """``hessian``: ``E[x xᵀ]``, and its factor by the sizes of groups and of super-blocks.

    ``drift``: if it is made up for.
    """

    settings: Gptq
    hessian: Tensor
    drift: Drift | None
    factors: Mapping[tuple[int | None, int], HessianFactor]

    def target(self, weight: Tensor) -> Tensor | None:
        """The weight that makes up for drift."""
        if self.drift is None:
            return None
        damping, drift = self.settings.drift_damping, self.drift
        return corrected_target(weight, self.hessian, drift.inputs, damping, drift.stream)

    def round(
        self, weight: Tensor, scheme: TensorScheme, range_: Range, scale_dtype: torch.dtype
    ) -> Rounded:
        """See :func:`gptq`."""
        factor = self.factors[_sizes(scheme)]
        return gptq(weight, scheme, range_, factor, scale_dtype=scale_dtype, settings=self.settings)


def gptq(
    weight: Tensor,
    scheme: TensorScheme,
    estimator: Range,
    hessian: Tensor | HessianFactor,
    *,
    scale_dtype: torch.dtype,
    settings: Gptq = Gptq(),
    importance: Tensor | None = None,
) -> Rounded:
    """Quantize a matrix ``(out, in)`` of any float type.

    ``hessian``: ``E[x xᵀ]`` of its input, float32 ``(in, in)``, symmetric; or its factor, which
    matrices with the same input share; the factor's own damping and order then count.
    ``estimator``: a range that needs no more than ``E[x_j²]``, which is the Hessian's diagonal.
    ``scale_dtype`` and ``importance`` (instead of the range's own) are those of
    :func:`~tersor.rounding.nearest.nearest`.

    A Hessian of no use (NaN, zero, hopelessly indefinite) leads to rounding to nearest, and the
    result's ``note`` says so. Arithmetic is float32; the same bits for any number of threads.

    Raises :class:`~tersor.errors.NonFiniteWeight` and :class:`SchemeError` as
    :func:`~tersor.rounding.nearest.nearest` does, and :class:`SchemeError` if the Hessian is not
    the matrix's.
    """
    prepared = prepare(weight, scheme, scale_dtype)
    factor = hessian
    if isinstance(factor, Tensor):
        factor = hessian_factor(factor, settings.damping, settings.order, *_sizes(scheme))
    _check(factor, weight.shape[1], scheme)
    # Without a usable Hessian nothing is known, and every column weighs the same.
    usable = factor.feedback is not None
    bound = estimator.bind(Observation(mean_square=factor.diagonal) if usable else None)
    chosen = bound.estimator
    importance = bound.importance if importance is None else importance
    job = _Job(scheme, prepared, chosen, factor, settings.block, importance)
    if factor.feedback is None or job.static:
        start = nearest(weight, scheme, chosen, scale_dtype=scale_dtype, importance=importance)
        start = replace(start, note=factor.note)
        return start if factor.feedback is None else job.with_scales_of(start, weight)
    return job.with_fresh_scales(weight)


def _sizes(scheme: TensorScheme) -> tuple[int | None, int]:
    """What the order of columns depends on."""
    return scheme.group_size, scheme.super_groups


def _check(factor: HessianFactor, columns: int, scheme: TensorScheme) -> None:
    if len(factor.permutation) != columns:
        raise SchemeError(
            f"a Hessian of {len(factor.permutation)} inputs does not belong to {columns} columns"
        )
    made_for = factor.group_size, factor.super_groups
    if factor.order == "group" and made_for != _sizes(scheme):
        raise SchemeError(
            f"the Hessian was ordered for groups of {factor.group_size}, not {scheme.group_size}"
            + (f" in super-blocks of {scheme.super_groups}" if scheme.super_groups > 1 else "")
        )


@dataclass(frozen=True, eq=False)
class _Job:
    scheme: TensorScheme
    prepared: Prepared
    estimator: RangeEstimator
    factor: HessianFactor
    block: int
    importance: Tensor | None

    @property
    def static(self) -> bool:
        """Whether all scales are fitted to the original weights, before anything is rounded."""
        return self.scheme.group_size is None or self.factor.order == "activation"

    def with_scales_of(self, start: Rounded, weight: Tensor) -> Rounded:
        """The matrix with the scales of ``start`` and better codes."""
        codes = []
        for rows in panels(*weight.shape):
            part = start.tensor.rows(rows.start, rows.stop)
            zero = part.zero_point
            panel = Panel.of(weight[rows], self.factor)
            panel.round(
                0,
                weight.shape[1],
                self.block,
                self.prepared.scheme.grid,
                self._in_order(part.scale.value(), len(part.codes)),
                None if zero is None else self._in_order(zero, len(part.codes)),
            )
            codes.append(self._stored_codes(panel))
        return replace(start, tensor=replace(start.tensor, codes=torch.cat(codes)))

    def _in_order(self, parameter: Tensor, rows: int) -> Tensor:
        """``(rows or 1, groups)`` → ``(rows, 1)`` or, if there are groups, ``(rows, in)``."""
        if self.scheme.group_size is not None:
            parameter = parameter[:, self.factor.permutation // self.scheme.group_size]
        return parameter.expand(rows, -1)

    def with_fresh_scales(self, weight: Tensor) -> Rounded:
        """The matrix, group after group."""
        parts = [self._rows(weight[rows]) for rows in panels(*weight.shape)]
        whole = _joined([fitted for _, fitted in parts], dim=0)
        tensor = QuantizedTensor(
            torch.cat([codes for codes, _ in parts]),
            whole.parameters.scale,
            whole.parameters.zero_point,
            self.scheme,
            self.prepared.codebook,
        )
        return Rounded(tensor, whole.bounds, self.factor.note)

    def _rows(self, weight: Tensor) -> tuple[Tensor, Fitted]:
        """Codes ``(rows, in)`` of some rows of the matrix and what was fitted to them."""
        size, columns = self.scheme.group_size, weight.shape[1]
        assert size is not None
        panel = Panel.of(weight, self.factor)
        fitted: dict[int, Fitted] = {}
        storage = self.prepared.storage
        first = 0
        while first < columns:
            if self.scheme.super_groups > 1 and first % SUPER_BLOCK == 0:
                storage = replace(storage, above=self._above(panel, first))
            # Groups need not come in order, and the ragged one need not come last.
            number = int(self.factor.permutation[first]) // size
            last = first + min(size, columns - number * size)
            fitted[number] = self._group(panel, first, last, storage)
            first = last
        return self._stored_codes(panel), _joined([fitted[n] for n in range(len(fitted))], dim=1)

    def _above(self, panel: Panel, first: int) -> SuperScales | None:
        """The upper level of the scales of a super-block, for its weights as corrected so far."""
        size = self.scheme.group_size
        assert size is not None
        last = first + SUPER_BLOCK
        blocks = panel.foreseen(first, last).reshape(-1, SUPER_BLOCK // size, size)
        importance = self._importance(first, last)
        if importance is not None:
            importance = importance.reshape(1, -1, size)
        scheme, storage = self.prepared.scheme, self.prepared.storage
        return self.estimator.fitted(blocks, scheme, storage, importance).parameters.above

    def _group(self, panel: Panel, first: int, last: int, storage: ScaleStorage) -> Fitted:
        """Fit a group's scale to its weights as corrected so far, then round it."""
        scheme, importance = self.prepared.scheme, self._importance(first, last)
        if importance is not None:
            importance = importance.reshape(1, 1, -1)
        blocks = panel.corrected(first, last).unsqueeze(1)  # (rows, 1, size)
        fitted = self.estimator.fitted(blocks, scheme, storage, importance)
        scale, zero = fitted.parameters.scale.value(), fitted.parameters.zero_point
        panel.round(first, last, self.block, scheme.grid, scale, zero)
        return fitted

    def _importance(self, first: int, last: int) -> Tensor | None:
        if self.importance is None:
            return None
        return self.importance[self.factor.permutation[first:last]]

    def _stored_codes(self, panel: Panel) -> Tensor:
        return panel.stored_codes(self.factor.permutation, self.scheme.grid.code_dtype)


def _joined(parts: Sequence[Fitted], dim: int) -> Fitted:
    scale = parts[0].parameters.scale
    zero_points = [p.parameters.zero_point for p in parts if p.parameters.zero_point is not None]
    data = torch.cat([part.parameters.scale.data for part in parts], dim)
    low, high = (torch.cat(ends, dim) for ends in zip(*(p.bounds for p in parts), strict=True))
    parameters = Parameters(
        StoredScale(data, scale.format, scale.global_scale),
        torch.cat(zero_points, dim) if zero_points else None,
    )
    return Fitted(parameters, (low, high))
