"""``quantize``: a model in, a quantized artifact out, one block in memory at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from tersor.calibration.text import TextFile
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.source import Source, TensorInfo
from tersor.digest import tensor_digest
from tersor.errors import SchemeError
from tersor.formats import QuantizedLinear
from tersor.formats.containers.container import Writer
from tersor.grids import Scheme, error_parts
from tersor.machine.parallel import in_order
from tersor.models.experts import unfuse
from tersor.pipeline.blocks.linear_rounding import round_nearest
from tersor.pipeline.blocks.loop import Emit
from tersor.pipeline.blocks.static_ranges import static_input
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.journal.entry import UnitEntry
from tersor.pipeline.journal.keeping import publish, recording
from tersor.pipeline.journal.recorder import Recorder
from tersor.pipeline.planning import ModulePlan, Plan, TensorPlan, Unit
from tersor.pipeline.planning.prepare import unprepared
from tersor.pipeline.planning.stored_types import cast, widened_scales
from tersor.pipeline.result import QuantizeResult
from tersor.pipeline.whole_model.given_texts import given_texts
from tersor.pipeline.whole_model.run import Calibrated, calibrated_works
from tersor.pipeline.writing.digests import linear_digest
from tersor.pipeline.writing.repetition import made_now, repetition
from tersor.pipeline.writing.surroundings import texts_about, verify
from tersor.ranges import NOTHING
from tersor.report.record import (
    LayerRecord,
    with_calibration,
    with_errors,
    with_wide_scales,
)
from tersor.rounding import Rounded

Progress = Callable[[int, int], None]
"""Called with (done, total): source bytes, or blocks where the recipe looks at activations."""


def quantize_to(
    source: Source,
    plan: Plan,
    out: Path,
    *,
    calibration: Sequence[Path] = (),
    resume: bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizeResult:
    """Carry out ``plan`` and write the artifact to the directory ``out``.

    ``source``: the one the plan was made for. ``calibration``: text files for recipes that look at
    activations; without any, the mixture that comes with tersor. Nothing appears at ``out`` unless
    everything succeeded.

    ``resume``: whether to go on with what an earlier run on ``out`` has finished; the result is the
    same, byte for byte. ``None``: nothing is kept for a later run, and nothing that one left is
    gone on with.

    The recipe that is written says what it was made with; one that says so already is held against
    it: other texts are refused, and what else is different is in the result.

    Raises :class:`~tersor.errors.NonFiniteWeight`, :class:`~tersor.errors.SchemeError`,
    :class:`~tersor.errors.TextError`, :class:`~tersor.errors.SourceError` and
    :class:`~tersor.errors.OutputError` (an earlier run that was another one, say).
    """
    if plan.recipe.needs_calibration:
        import transformers.models.auto  # noqa: F401 - seconds are without imports
    texts = given_texts(plan.recipe, calibration)
    started = time.perf_counter()
    place = output(plan, out, force=force, source=source, resume=resume)
    with place as staging:
        if resume is None:
            result = _carried_out(source, plan, out, staging, texts, progress, None)
        else:
            with recording(place, source, plan, texts) as recorder:
                result = _carried_out(source, plan, out, staging, texts, progress, recorder)
    if resume is not None:
        publish(place, result)
    return replace(result, seconds=time.perf_counter() - started)


def _carried_out(
    source: Source,
    plan: Plan,
    out: Path,
    staging: Path,
    texts: Sequence[TextFile],
    progress: Progress | None,
    recorder: Recorder | None,
) -> QuantizeResult:
    """The artifact in ``staging``, checked; or what there is to say of it, if it has left that."""
    container, config = plan.written_as.container, plan.config(source.config)
    run = _Run(source, plan, unprepared(source), recorder)
    published = recorder is not None and recorder.published
    if published:
        found = run.all_units(None, texts, progress)
    else:
        with container.writer(staging, list(plan.outputs()), config, source) as writer:
            found = run.all_units(writer, texts, progress)
    made = made_now(source, plan.recipe, found.texts, run.digests, run.written)
    result = QuantizeResult(
        source.path,
        out,
        plan.written(run.widened).with_made(made),
        tuple(run.records),
        made.source,
        found.notes,
        found.texts,
        repetition(plan.recipe.made, made),
    )
    if not published:
        container.describe(staging, source, config, texts_about(source, result))
        verify(staging, plan.written_as, result.layers)
    return result


def output(
    plan: Plan, out: Path, *, force: bool, source: Source, resume: bool | None = None
) -> OutputDirectory:
    """Where the result of a plan is staged, and published if all goes well."""
    return OutputDirectory(
        out,
        needed_bytes=plan.bytes_at_most,
        source=source.path,
        force=force,
        kind=plan.written_as.container,
        resume=resume,
    )


@dataclass(frozen=True)
class _Run:
    source: Source
    plan: Plan
    original: Source
    recorder: Recorder | None
    records: list[LayerRecord] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """Of the original's tensors, by name."""
    written: dict[str, str] = field(default_factory=dict)
    """Of what was written: quantized linears, and other tensors, by name."""
    widened: dict[str, TensorInfo] = field(default_factory=dict)
    """Scales that are float32, because float16 could not hold them."""

    def all_units(
        self, writer: Writer | None, texts: Sequence[TextFile], progress: Progress | None
    ) -> Calibrated:
        """Quantize everything; returns what calibration has to report.

        ``writer``: not needed where an earlier run has written everything.
        """
        recorder = self.recorder
        if recorder is not None:
            for unit in recorder.kept:
                self.take(unit)
            if writer is not None:
                recorder.into(writer)
        emit = partial(self.unit, writer)
        if self.plan.recipe.needs_calibration:
            found = calibrated_works(self.source, self.plan, texts, emit, progress, recorder)
        else:
            self.nearest(emit, progress)
            found = Calibrated()
        if recorder is not None:
            recorder.commit(last=True)
        return found

    def nearest(self, emit: Emit, progress: Progress | None) -> None:
        """Units of a recipe that looks at no activations."""
        done = 0
        for unit in self.plan.units:
            emit(unit, Work())
            if self.recorder is not None:
                self.recorder.commit()
            done += sum(tensor.source.nbytes for tensor in unit.tensors)
            if progress is not None:
                progress(done, self.plan.source_bytes)

    def take(self, unit: UnitEntry) -> None:
        """Account for a unit that is written."""
        self.digests.update(unit.digests)
        self.written.update(unit.written)
        self.widened.update({info.name: info for info in unit.widened})
        self.records.extend(unit.records)

    def unit(self, writer: Writer | None, unit: Unit, work: Work) -> None:
        """Write one unit as calibration decided, or rounded to nearest; none that is there."""
        if self.recorder is not None and self.recorder.has_written(unit.name):
            return
        assert writer is not None
        entry = UnitEntry(unit.name)
        tensors = self.source.read([tensor.source.name for tensor in unit.tensors])
        jobs = ((plan, tensors.pop(plan.source.name), work) for plan in unit.tensors)
        for name, done in in_order(self.tensor, jobs):
            if done.digest:
                entry.digests[name] = done.digest
            entry.written.update(done.written)
            for info in done.widened:
                entry.widened.append(info)
                writer.revise(info)
            writer.add(done.outputs)
            entry.records.extend(done.records)
        self.take(entry)
        if self.recorder is not None:
            self.recorder.written(entry)

    def tensor(self, job: tuple[TensorPlan, Tensor, Work]) -> tuple[str, "_Done"]:
        """Everything that is written for one tensor of the source."""
        plan, tensor, work = job
        name = plan.source.name
        done = _Done(self.original_digest(name, tensor))
        if not plan.modules:
            done.outputs[name] = cast(name, work.changed.get(name, tensor), plan.kept.dtype)
            done.written[name] = tensor_digest(done.outputs.values())
            return name, done
        matrices = unfuse(self.plan.architecture, name, tensor)
        for module in plan.modules:
            weight = f"{module.module}.weight"
            matrix = work.changed.get(weight, matrices.pop(weight))
            outputs, record = self.module(module, matrix, work)
            widened = widened_scales(module, outputs)
            if widened:
                record = with_wide_scales(record, sum(t.nbytes for t in outputs.values()))
            done.widened.extend(widened)
            done.outputs.update(outputs)
            done.records.append(record)
            done.written[module.module] = record.digest or tensor_digest(outputs.values())
        return name, done

    def original_digest(self, name: str, tensor: Tensor) -> str:
        """Of a tensor before any transform; empty for one that only a transform has."""
        if self.original is self.source:
            return tensor_digest([tensor])
        if name not in self.original.tensors:
            return ""
        return tensor_digest(self.original.read([name]).values())

    def module(
        self, module: ModulePlan, matrix: Tensor, work: Work
    ) -> tuple[dict[str, Tensor], LayerRecord]:
        scheme = str(module.scheme or "")
        record = LayerRecord(
            module.module, module.shape, scheme, module.stored_bytes, module.reason
        )
        if module.scheme is None:
            kept = module.outputs[0]
            return {kept.name: cast(kept.name, matrix, kept.dtype)}, record
        weight = matrix.T if module.transposed else matrix
        rounded = work.rounded.get(module.module) or self.unobserved(module, weight)
        seen = work.seen.get(module.module, Seen(tokens=0))
        given = static_input(module, seen.stream, self.plan.recipe.activation_range)
        linear = QuantizedLinear(rounded.tensor, module.scheme, given)
        try:
            encoded = self.plan.written_as.encode(linear)
        except SchemeError as error:
            raise SchemeError(f"{module.module}: {error}") from error
        stored = {f"{module.module}.{suffix}": t for suffix, t in encoded.items()}
        parts = error_parts(weight, rounded.tensor, rounded.bounds)
        digest = linear_digest(self.plan.written_as.read_back(linear))
        record = with_errors(record, parts, digest)
        record = replace(record, aimed_db=rounded.aimed_db)
        return stored, with_calibration(record, rounded.note, seen.tokens, seen.output_error)

    def unobserved(self, module: ModulePlan, weight: Tensor) -> Rounded:
        """Rounded to nearest; says so if the recipe wanted to look at the input."""
        rounded = round_nearest(module, weight, module.scale_type)
        ranges = NOTHING if module.range is None else module.range.needs
        if not self.plan.recipe.rounding.needs | ranges:
            return rounded
        untied = self.plan.recipe.untied
        if untied is not None and module.scheme == self.plan.written_as.made(Scheme(untied)):
            return rounded  # an embedding is looked up: nothing else was asked for it
        note = "its input is not observed: rounded to nearest, all columns count alike"
        return replace(rounded, note=note)


@dataclass(frozen=True)
class _Done:
    digest: str
    written: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    records: list[LayerRecord] = field(default_factory=list)
    widened: list[TensorInfo] = field(default_factory=list)
