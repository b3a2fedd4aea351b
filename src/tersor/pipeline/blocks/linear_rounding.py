"""Rounding the linears of one stage, by the recipe's method, on all cores.

Rows of a matrix are independent of each other wherever each has its own scales, so a matrix is cut
into panels of rows and every panel is a piece of work. Panels have one size on every machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from tersor.errors import NonFiniteWeight, SchemeError
from tersor.grids import (
    Granularity,
    ScaleFormat,
    StoredScale,
    TensorScheme,
    error_parts,
)
from tersor.machine.parallel import in_order
from tersor.pipeline.planning import ModulePlan
from tersor.ranges import Observation
from tersor.rounding import (
    Gptq,
    HessianFactor,
    Rounded,
    corrected_target,
    gptq,
    hessian_factor,
    nearest,
)

_PANEL = 256
_Modules = Mapping[str, tuple[ModulePlan, Tensor, torch.dtype]]


def round_nearest(
    module: ModulePlan, weight: Tensor, dtype: torch.dtype, observed: Observation | None = None
) -> Rounded:
    """Round ``weight (out, in)`` to nearest as planned; scales are stored in ``dtype``.

    Raises :class:`NonFiniteWeight` and :class:`SchemeError` naming the module.
    """
    assert module.scheme is not None
    assert module.range is not None
    # Only what the range needs: calibrating for another step must not change it.
    bound = module.range.bind(observed)
    try:
        rounded = nearest(
            weight,
            module.scheme.weights,
            bound.estimator,
            scale_dtype=dtype,
            importance=bound.importance,
        )
        return replace(rounded, note=bound.note)
    except (NonFiniteWeight, SchemeError) as error:
        raise type(error)(f"{module.module}.weight: {error}") from None


def round_stage(
    modules: _Modules,
    observed: Observation,
    settings: Gptq | None,
) -> dict[str, Rounded]:
    """Round the matrices ``(out, in)`` that read the same rows; by GPTQ if there are settings.

    ``modules``: name → plan, weight, type of the stored scales.

    Raises :class:`NonFiniteWeight` and :class:`SchemeError` naming the module.
    """
    factors = {} if settings is None else _factors(modules, observed, settings)
    if settings is not None and observed.drift is not None:
        modules = _targets(modules, observed, settings)
    jobs = list(_jobs(modules, observed, settings, factors))
    parts: dict[str, list[Rounded]] = {name: [] for name in modules}
    for job, rounded in zip(jobs, in_order(_Job.run, jobs), strict=True):
        parts[job.module.module].append(rounded)
    whole = {name: joined(found) for name, found in parts.items()}
    if settings is None or observed.drift is None:
        return whole
    return {name: _aimed(found, modules[name][1]) for name, found in whole.items()}


def _aimed(rounded: Rounded, target: Tensor) -> Rounded:
    """What was lost of a target that makes up for drift, which may be far from the weight."""
    return replace(rounded, aimed_db=error_parts(target, rounded.tensor).sqnr_db)


def _targets(modules: _Modules, observed: Observation, settings: Gptq) -> _Modules:
    """The modules with weights that make up for the drift of their inputs."""

    def target(name: str) -> Tensor:
        assert observed.hessian is not None
        assert observed.drift is not None
        weight = modules[name][1]
        return corrected_target(
            weight,
            observed.hessian,
            observed.drift.inputs,
            settings.drift_damping,
            observed.drift.stream,
        )

    found = zip(modules.items(), in_order(target, modules), strict=True)
    return {name: (plan, weight, dtype) for (name, (plan, _, dtype)), weight in found}


def _factors(
    modules: _Modules,
    observed: Observation,
    settings: Gptq,
) -> dict[int | None, HessianFactor]:
    """Group size → factor; usually there is one for all."""
    assert observed.hessian is not None
    sizes = {plan.scheme.weights.group_size for plan, _, _ in modules.values() if plan.scheme}
    factor = partial(hessian_factor, observed.hessian, settings.damping, settings.order)
    return {size: factor(size) for size in sizes}


@dataclass(frozen=True, eq=False)
class _Job:
    module: ModulePlan
    weight: Tensor
    dtype: torch.dtype
    observed: Observation
    settings: Gptq | None
    factor: HessianFactor | None

    def run(self) -> Rounded:
        if self.settings is None or self.factor is None:
            return round_nearest(self.module, self.weight, self.dtype, self.observed)
        assert self.module.scheme is not None
        assert self.module.range is not None
        try:
            return gptq(
                self.weight,
                self.module.scheme.weights,
                self.module.range,
                self.factor,
                scale_dtype=self.dtype,
                settings=self.settings,
            )
        except (NonFiniteWeight, SchemeError) as error:
            raise type(error)(f"{self.module.module}.weight: {error}") from None


def _jobs(
    modules: _Modules,
    observed: Observation,
    settings: Gptq | None,
    factors: Mapping[int | None, HessianFactor],
) -> Iterator[_Job]:
    for plan, weight, dtype in modules.values():
        assert plan.scheme is not None
        scheme = plan.scheme.weights
        step = _PANEL if _rows_independent(scheme) else len(weight)
        factor = factors.get(scheme.group_size)
        for start in range(0, len(weight), step):
            rows = weight[start : start + step]
            yield _Job(plan, rows, dtype, observed, settings, factor)


def _rows_independent(scheme: TensorScheme) -> bool:
    shared = scheme.granularity is Granularity.TENSOR or scheme.scale_format is ScaleFormat.E4M3
    return not (scheme.grid.fitted or shared)


def joined(parts: list[Rounded]) -> Rounded:
    """Panels of rows as one matrix."""
    first = parts[0]
    if len(parts) == 1:
        return first
    tensors = [part.tensor for part in parts]
    scale = first.tensor.scale
    zero_points = [t.zero_point for t in tensors if t.zero_point is not None]
    whole = replace(
        first.tensor,
        codes=torch.cat([t.codes for t in tensors]),
        scale=StoredScale(torch.cat([t.scale.data for t in tensors]), scale.format),
        zero_point=torch.cat(zero_points) if zero_points else None,
    )
    low, high = (torch.cat(ends) for ends in zip(*(p.bounds for p in parts), strict=True))
    notes = list(dict.fromkeys(part.note for part in parts if part.note))
    return Rounded(whole, (low, high), "; ".join(notes))
