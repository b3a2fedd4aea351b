"""What :func:`~tersor.rounding.gptq.gptq` computes, the long way: the textbook, in float64.

Optimal Brain Surgeon, one column after the other: round the column, move *all* remaining columns by
the update that minimises the error, ``δ = −(w_q − quant(w_q)) / [H⁻¹]_qq · [H⁻¹]_q,:``, and
eliminate the column from the inverse (https://arxiv.org/abs/2210.17323, eq. 2 and 3). No blocks, no
Cholesky, and nothing shared with the solver but the grids and what :mod:`_prepare` settles.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tersor.grids import Parameters, SuperScales, TensorScheme
from tersor.grids.scheme import Granularity
from tersor.ranges import RangeEstimator
from tersor.rounding._prepare import Prepared, prepare
from tersor.rounding.gptq import Gptq


def gptq_reference(
    weight: Tensor,
    scheme: TensorScheme,
    estimator: RangeEstimator,
    hessian: Tensor,
    *,
    scale_dtype: torch.dtype,
    settings: Gptq,
) -> tuple[Tensor, Tensor]:
    """Codes and restored weight, both ``(out, in)``, for a Hessian that damping makes definite.

    Parameters as in :func:`~tersor.rounding.gptq.gptq`; the restored weight is float32.
    """
    prepared = prepare(weight, scheme, scale_dtype)
    order = processing_order(hessian.diagonal().tolist(), scheme, settings.order)
    current = weight.double().clone()
    codes = torch.empty(weight.shape, dtype=scheme.grid.code_dtype)
    restored = torch.empty(weight.shape)
    inverse = _damped(hessian.double(), settings.damping)[order][:, order].inverse()
    fitted: dict[int, Parameters] = {}
    above: dict[int, SuperScales | None] = {}
    if scheme.group_size is None or settings.order == "activation":
        fitted = _fit_all(weight.float(), prepared, estimator)
    for step, column in enumerate(order):
        group = column // scheme.group_size if scheme.group_size else 0
        if group not in fitted:
            together = scheme.super_groups
            if group // together not in above:
                first = group // together * together
                groups = range(first, first + together)
                values = [_group_of(current, scheme, one) for one in groups]
                whole = _fit(torch.stack(values, 1).float(), prepared, estimator)
                above[group // together] = whole.above
            fitted[group] = _fit(
                _group_of(current, scheme, group).float().unsqueeze(1),
                replace(
                    prepared, storage=replace(prepared.storage, above=above[group // together])
                ),
                estimator,
            )
        exact = current[:, column].float().unsqueeze(1)
        scale, zero = fitted[group].scale.value(), fitted[group].zero_point
        code = prepared.scheme.grid.encode(exact, scale, zero)
        level = prepared.scheme.grid.decode(code, scale, zero)
        codes[:, column], restored[:, column] = code.squeeze(1), level.squeeze(1)
        error = (current[:, column] - level.squeeze(1).double()) / inverse[0, 0]
        current[:, order[step + 1 :]] -= error.outer(inverse[0, 1:])
        inverse = inverse[1:, 1:] - inverse[1:, 0].outer(inverse[0, 1:]) / inverse[0, 0]
    return codes, restored


def processing_order(diagonal: list[float], scheme: TensorScheme, order: str) -> list[int]:
    """Columns in the order in which they are rounded."""
    group_size = scheme.group_size
    columns = list(range(len(diagonal)))
    if order == "none":
        return columns
    columns.sort(key=lambda column: -diagonal[column])
    if order == "activation" or group_size is None:
        return columns
    for size in (group_size, group_size * scheme.super_groups):
        groups = [diagonal[start : start + size] for start in range(0, len(diagonal), size)]
        by_mean = sorted(range(len(groups)), key=lambda g: -sum(groups[g]) / len(groups[g]))
        columns = [column for g in by_mean for column in columns if column // size == g]
    return columns


def _damped(hessian: Tensor, damping: float) -> Tensor:
    diagonal = hessian.diagonal()
    live = diagonal != 0
    return hessian + torch.where(live, damping * diagonal[live].mean(), 1.0).diag()


def _fit(values: Tensor, prepared: Prepared, estimator: RangeEstimator) -> Parameters:
    """Scales and zero points ``(rows, groups)`` of groups ``(rows, groups, size)``."""
    return estimator.fitted(values, prepared.scheme, prepared.storage).parameters


def _fit_all(
    weight: Tensor, prepared: Prepared, estimator: RangeEstimator
) -> dict[int, Parameters]:
    scheme = prepared.scheme
    if scheme.granularity is Granularity.TENSOR:
        return {0: _fit(weight.reshape(1, 1, -1), prepared, estimator)}
    groups = range(scheme.groups(weight.shape[1]))
    if scheme.super_groups > 1:
        blocks = weight.reshape(len(weight), len(groups), -1)
        return {g: _one(_fit(blocks, prepared, estimator), g) for g in groups}
    return {g: _fit(_group_of(weight, scheme, g).unsqueeze(1), prepared, estimator) for g in groups}


def _one(whole: Parameters, group: int) -> Parameters:
    """Scale and zero point ``(rows, 1)`` of one of several groups."""
    here, zero = (slice(None), slice(group, group + 1)), whole.zero_point
    scale = replace(whole.scale, data=whole.scale.data[here])
    return Parameters(scale, None if zero is None else zero[here])


def _group_of(matrix: Tensor, scheme: TensorScheme, group: int) -> Tensor:
    size = scheme.group_size or matrix.shape[1]
    return matrix[:, group * size : (group + 1) * size]
