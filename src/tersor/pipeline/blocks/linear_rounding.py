"""Rounding the linears of one stage, by the recipe's method, on all cores.

Rows of a matrix are independent of each other wherever each has its own scales, so a matrix is cut
into panels of rows and every panel is a piece of work. Panels have one size on every machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

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
from tersor.recipes import Rounding
from tersor.rounding import Nearest, Rounded, Rounder

_PANEL = 256
_Modules = Mapping[str, tuple[ModulePlan, Tensor, torch.dtype]]


def round_nearest(module: ModulePlan, weight: Tensor, dtype: torch.dtype) -> Rounded:
    """Round ``weight (out, in)``, whose input was not seen, to nearest; ``dtype``: of its scales.

    Raises :class:`NonFiniteWeight` and :class:`SchemeError` naming the module.
    """
    return _Job(module, weight, dtype, Nearest().bind(None)).run()


def round_stage(modules: _Modules, observed: Observation, rounding: Rounding) -> dict[str, Rounded]:
    """Round the matrices ``(out, in)`` that read the same rows.

    ``modules``: name → plan, weight, type of the stored scales.

    Raises :class:`NonFiniteWeight` and :class:`SchemeError` naming the module.
    """
    schemes = [plan.scheme.weights for plan, _, _ in modules.values() if plan.scheme]
    rounder = rounding.bind(observed, schemes)
    targets = _targets(modules, rounder)
    jobs = list(_jobs(modules, targets, rounder))
    parts: dict[str, list[Rounded]] = {name: [] for name in modules}
    for job, rounded in zip(jobs, in_order(_Job.run, jobs), strict=True):
        parts[job.module.module].append(rounded)
    whole = {name: joined(found) for name, found in parts.items()}
    return whole | {name: _aimed(whole[name], target) for name, target in targets.items()}


def _aimed(rounded: Rounded, target: Tensor) -> Rounded:
    """What was lost of a target that makes up for drift, which may be far from the weight."""
    return replace(rounded, aimed_db=error_parts(target, rounded.tensor).sqnr_db)


def _targets(modules: _Modules, rounder: Rounder) -> dict[str, Tensor]:
    """What is rounded in place of a weight, by module."""
    weights = [weight for _, weight, _ in modules.values()]
    found = zip(modules, in_order(rounder.target, weights), strict=True)
    return {name: target for name, target in found if target is not None}


@dataclass(frozen=True, eq=False)
class _Job:
    module: ModulePlan
    weight: Tensor
    dtype: torch.dtype
    rounder: Rounder

    def run(self) -> Rounded:
        scheme, range_ = self.module.scheme, self.module.range
        assert scheme is not None
        assert range_ is not None
        try:
            return self.rounder.round(self.weight, scheme.weights, range_, self.dtype)
        except (NonFiniteWeight, SchemeError) as error:
            raise type(error)(f"{self.module.module}.weight: {error}") from None


def _jobs(modules: _Modules, targets: Mapping[str, Tensor], rounder: Rounder) -> Iterator[_Job]:
    for name, (plan, original, dtype) in modules.items():
        assert plan.scheme is not None
        weight = targets.get(name, original)
        step = _PANEL if _rows_independent(plan.scheme.weights) else len(weight)
        for start in range(0, len(weight), step):
            yield _Job(plan, weight[start : start + step], dtype, rounder)


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
