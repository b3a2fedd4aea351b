"""``quantize``: a model in, a quantized artifact out, one block in memory at a time."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from tersor.checkpoints.output import OutputDirectory
from tersor.checkpoints.source import Source
from tersor.checkpoints.writer import ShardWriter
from tersor.errors import NonFiniteWeight, SchemeError
from tersor.formats import QuantizedLinear, encode
from tersor.grids import error_parts
from tersor.models.experts import unfuse
from tersor.pipeline.activations import InputStatistics, static_input
from tersor.pipeline.artifact import verify, write_description
from tersor.pipeline.digest import combined_digest, linear_digest, tensor_digest
from tersor.pipeline.plan import ModulePlan, Plan, TensorPlan, Unit
from tersor.pipeline.result import Result
from tersor.ranges import ImportanceWeighted
from tersor.recipes import AnyRange
from tersor.report.record import LayerRecord, with_errors
from tersor.rounding import Rounded, nearest

_T = TypeVar("_T")
_R = TypeVar("_R")

Progress = Callable[[int, int], None]
"""Called with (done, total) in source bytes."""


def quantize_to(
    source: Source,
    plan: Plan,
    out: Path,
    *,
    statistics: Mapping[str, InputStatistics],
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Carry out ``plan`` and write the artifact to the directory ``out``.

    ``statistics``: what calibration saw of each linear's input; may be empty if the recipe needs
    none. Nothing appears at ``out`` unless everything succeeded. Raises
    :class:`NonFiniteWeight`, :class:`SchemeError` and :class:`~tersor.errors.OutputError`.
    """
    started = time.perf_counter()
    needed = plan.total_bytes
    with OutputDirectory(out, force=force, needed_bytes=needed, source=source.path) as staging:
        with ShardWriter(staging, list(plan.outputs())) as writer:
            run = _Run(source, plan, statistics, writer)
            digests = run.all_units(progress)
        result = Result(out, plan, tuple(run.records), combined_digest(digests))
        write_description(source, result, staging)
        verify(staging, result.records)
    return replace(result, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Run:
    source: Source
    plan: Plan
    statistics: Mapping[str, InputStatistics]
    writer: ShardWriter
    records: list[LayerRecord] = field(default_factory=list)

    def all_units(self, progress: Progress | None) -> dict[str, str]:
        """Quantize everything; returns the digest of every source tensor."""
        digests: dict[str, str] = {}
        done = 0
        for unit in self.plan.units:
            digests |= self.unit(unit)
            done += sum(tensor.source.nbytes for tensor in unit.tensors)
            if progress is not None:
                progress(done, self.plan.source_bytes)
        return digests

    def unit(self, unit: Unit) -> dict[str, str]:
        tensors = self.source.read([tensor.source.name for tensor in unit.tensors])
        jobs = ((plan, tensors.pop(plan.source.name)) for plan in unit.tensors)
        digests = {}
        for name, done in _in_parallel(self.tensor, jobs):
            digests[name] = done.digest
            self.writer.add(done.outputs)
            self.records.extend(done.records)
        return digests

    def tensor(self, job: tuple[TensorPlan, Tensor]) -> tuple[str, "_Done"]:
        """Everything that is written for one tensor of the source."""
        plan, tensor = job
        name = plan.source.name
        done = _Done(tensor_digest([tensor]))
        if not plan.modules:
            done.outputs[name] = tensor
            return name, done
        matrices = unfuse(self.plan.architecture, name, tensor)
        for module in plan.modules:
            outputs, record = self.module(module, matrices.pop(f"{module.module}.weight"))
            done.outputs.update(outputs)
            done.records.append(record)
        return name, done

    def module(self, module: ModulePlan, matrix: Tensor) -> tuple[dict[str, Tensor], LayerRecord]:
        scheme = str(module.scheme or "")
        record = LayerRecord(
            module.module, module.shape, scheme, module.stored_bytes, module.reason
        )
        if module.scheme is None or module.range is None:
            return {module.outputs[0].name: matrix}, record
        weight = matrix.T if module.transposed else matrix
        rounded = self.round(module, weight)
        seen = self.statistics.get(module.module)
        given = static_input(module, seen, self.plan.recipe.activation_range, weight.dtype)
        linear = QuantizedLinear(rounded.tensor, module.scheme, given)
        stored = {f"{module.module}.{suffix}": t for suffix, t in encode(linear).items()}
        parts = error_parts(weight, rounded.tensor, rounded.bounds)
        return stored, with_errors(record, parts, linear_digest(linear))

    def round(self, module: ModulePlan, weight: Tensor) -> Rounded:
        assert module.scheme is not None
        assert module.range is not None
        seen = self.statistics.get(module.module)
        try:
            return nearest(
                weight,
                module.scheme.weights,
                module.range,
                scale_dtype=weight.dtype,
                importance=_importance(module.range, seen),
            )
        except (NonFiniteWeight, SchemeError) as error:
            raise type(error)(f"{module.module}.weight: {error}") from None


def _importance(estimator: AnyRange, seen: InputStatistics | None) -> Tensor | None:
    """Only where the recipe asks for it: calibrating for another step must not change a range."""
    if seen is None or not isinstance(estimator, ImportanceWeighted):
        return None
    return seen.mean_square


@dataclass(frozen=True)
class _Done:
    digest: str
    outputs: dict[str, Tensor] = field(default_factory=dict)
    records: list[LayerRecord] = field(default_factory=list)


def _in_parallel(work: Callable[[_T], _R], jobs: Iterable[_T]) -> Iterator[_R]:
    """Results in order, one matrix per core.

    Matrices are many and small: a thread for each wastes less than splitting every elementwise
    operation over all cores, most of all when something else is running on them.
    """
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            yield from pool.map(work, jobs)
    finally:
        torch.set_num_threads(cores)
