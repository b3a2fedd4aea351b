"""Quantizing block by block: each sees what the quantized blocks before it make of the text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.places import Place, find_places, places_of, stage_of
from tersor.calibration.skeleton import Decoder
from tersor.calibration.stages import Stage, staged
from tersor.checkpoints.source import Source
from tersor.machine.parallel import in_order
from tersor.models.experts import unfused_shapes
from tersor.models.pairs import input_groups, pairs
from tersor.pipeline.blocks.learning import learn_block
from tersor.pipeline.blocks.linear_rounding import round_nearest, round_stage
from tersor.pipeline.blocks.observation import as_multiplied, needed, observe
from tersor.pipeline.blocks.original import Reference
from tersor.pipeline.blocks.parts import BlockParts, published_views
from tersor.pipeline.blocks.rounded_inputs import rounded_inputs
from tersor.pipeline.blocks.scaling import scale_block, seen_at
from tersor.pipeline.blocks.siblings import Siblings, is_expert
from tersor.pipeline.blocks.work import Seen, Work
from tersor.pipeline.planning import ModulePlan, Plan, Unit
from tersor.ranges import Need, Observation
from tersor.rounding import Rounded

Emit = Callable[[Unit, Work], None]
# Rows of a matrix that are worked on together.
_PANEL = 256


class BlockRounder:
    """Visits blocks (``Decoder.walk``), quantizes each, and hands the result to ``emit``."""

    def __init__(
        self, source: Source, plan: Plan, decoder: Decoder, memory: ActivationMemory, emit: Emit
    ) -> None:
        self._source, self._plan, self._decoder = source, plan, decoder
        self._memory, self._emit = memory, emit
        self.original: Tensor | None = None
        """The original's hidden states behind the last block, if the recipe compares with them."""
        self.unscaled: list[str] = []
        """Producers whose readers had no inputs to choose a scale by."""

    def visit(self, call: BlockCall, hidden: Tensor) -> Tensor:
        """Quantize one block; returns its output, computed with what it has become."""
        parts = self._parts(call)
        work = _Round(self._source, self._plan, parts, self._scaled(parts, hidden))
        learner = self._plan.recipe.rounding.learner
        output = hidden if learner is None else self._memory.empty(tuple(hidden.shape))
        with ExitStack() as stack:
            reference = self._reference(parts, hidden, stack)
            stack.enter_context(rounded_inputs(parts, work.seen))
            forward = staged(call, hidden, output, parts.stages, self._memory)
            stack.enter_context(closing(forward))
            for stage, inputs in forward:
                work.at_stage(stage, inputs, reference)
            if reference is not None:
                reference.finish()
        work.finish()
        self._learn(parts, work, hidden, output)
        self._emit(parts.unit, Work(work.changed, work.rounded, work.seen))
        return output

    def _learn(self, parts: BlockParts, work: "_Round", hidden: Tensor, output: Tensor) -> None:
        """Improve what was rounded by back-propagation, if the recipe says so."""
        recipe = self._plan.recipe
        learner = recipe.rounding.learner
        if learner is None or not parts.modules:
            return
        assert self.original is not None
        places = self._places(parts.modules)
        paths = {name: place.parameter for name, place in places.items()}
        streams = (hidden, self.original, output)
        work.rounded = learn_block(
            self._decoder,
            parts,
            paths,
            work.rounded,
            learner,
            streams,
            (recipe.seed + parts.call.index) % 2**64,
        )
        # The errors of single linears were those of the start.
        work.seen = {name: replace(seen, output_error=None) for name, seen in work.seen.items()}

    def _reference(self, parts: BlockParts, hidden: Tensor, stack: ExitStack) -> Reference | None:
        """The original block beside the one that changes, if the recipe compares them."""
        rounding = self._plan.recipe.rounding
        if Need.DRIFT not in rounding.needs and rounding.learner is None:
            return None
        if self.original is None:
            self.original = self._memory.empty(tuple(hidden.shape)).copy_(hidden)
        return Reference(self._plan.architecture, parts, hidden, self.original, self._memory, stack)

    def _scaled(self, parts: BlockParts, hidden: Tensor) -> dict[str, Tensor]:
        """Fold the recipe's scales into the block; returns what changed."""
        settings = self._plan.recipe.scaling
        if settings is None:
            return {}
        found = pairs(self._plan.architecture, self._shapes, parts.call.index)
        places = self._places(map(seen_at, found))
        scaled = scale_block(parts, found, places, settings, hidden, self._memory)
        self.unscaled += scaled.left
        return scaled.changed

    def _places(self, names: Iterable[str]) -> dict[str, Place]:
        return find_places(self._source, self._plan.architecture, self._decoder, names)

    def _parts(self, call: BlockCall) -> BlockParts:
        unit = self._units[call.index]
        planned = [module for tensor in unit.tensors for module in tensor.modules]
        places = places_of(self._decoder, call.index)
        # What a conversion changed beyond recognition has no place, and is rounded unseen.
        modules = {
            name: module
            for module in planned
            if module.scheme is not None and (name := f"{module.module}.weight") in places
        }
        return BlockParts(
            unit,
            call,
            modules,
            tuple(self._stages(call.index, {name: places[name] for name in modules})),
            {f"{module.module}.weight": module.scale_type for module in planned},
            published_views(self._decoder, call),
        )

    def _stages(self, block: int, places: Mapping[str, Place]) -> Iterator[Stage]:
        """Linears that read the same rows together; experts one after the other."""
        groups: list[list[tuple[str, Place]]] = []
        for group in input_groups(self._plan.architecture, self._shapes, block):
            members = [(name, places[name]) for name in group if name in places]
            # What shares an input may lie in different tensors: then each is a stop of its own.
            for key in dict.fromkeys(_holder(place) for _, place in members):
                groups.append([m for m in members if _holder(m[1]) == key])
        groups.sort(key=lambda members: -1 if (e := members[0][1].expert) is None else e)
        return map(stage_of, groups)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for info in self._source.tensors.values():
            shapes |= unfused_shapes(self._plan.architecture, info.name, info.shape)
        return shapes

    @cached_property
    def _units(self) -> dict[int, Unit]:
        block_of = self._plan.architecture.block_of
        numbered = ((block_of(unit.tensors[0].source.name), unit) for unit in self._plan.units)
        return {block: unit for block, unit in numbered if block is not None}


def _holder(place: Place) -> tuple[str, int]:
    """Linears of modules stop together; those of experts with the tensor that holds them."""
    return ("", -1) if place.expert is None else (place.path, place.expert)


class _Round:
    """The linears of one block, stage by stage."""

    def __init__(
        self, source: Source, plan: Plan, parts: BlockParts, changed: Mapping[str, Tensor]
    ) -> None:
        self._source, self._recipe, self._parts = source, plan.recipe, parts
        self.changed = dict(changed)
        self.rounded: dict[str, Rounded] = {}
        self.seen: dict[str, Seen] = {}
        self._reached: set[Stage] = set()
        self._siblings = Siblings()

    def at_stage(self, stage: Stage, inputs: Sequence[Tensor], reference: Reference | None) -> None:
        """Round the stage's linears and put them into the block."""
        parts = self._parts
        modules = [parts.modules[name] for name in stage.weights]
        inputs = as_multiplied(inputs, parts.call.dtype)
        drift = None if reference is None else reference.drift(stage, inputs)
        needs, window = needed(self._recipe, modules), self._recipe.calibration.window
        observed = observe(inputs, needs, modules[0].module, window, drift)
        self._siblings.saw(stage, observed)
        self._reached.add(stage)
        if self._siblings.put_off(stage, inputs, needs, modules[0].shape[1]):
            return
        before = self._round(stage, observed)
        if reference is not None:
            after = {name: parts.weight(name) for name in stage.weights}
            reference.written(stage, inputs, before, after)

    def _round(self, stage: Stage, observed: Observation) -> dict[str, Tensor]:
        """Round the stage's linears by what was observed; returns their weights before."""
        parts = self._parts
        weights = {name: parts.weight(name).clone() for name in stage.weights}
        modules = {name: parts.modules[name] for name in stage.weights}
        jobs = {m.module: (m, weights[name], parts.dtypes[name]) for name, m in modules.items()}
        found = round_stage(jobs, observed, self._recipe.rounding)
        for name, module in modules.items():
            rounded, before = found[module.module], weights[name]
            self.seen[module.module] = _seen(observed, before, rounded, parts.call.dtype)
            self._correct_bias(name, before, rounded, observed)
            self._keep(name, rounded, stage, observed)
        return weights

    def finish(self) -> None:
        """Round what few tokens or none reached, and say so.

        That waits until it is known what the other experts saw. So the block's output is made by
        experts of which these, for their few tokens, are not yet rounded.
        """
        unreached = [stage for stage in self._parts.stages if stage not in self._reached]
        few = self._siblings.few(unreached)
        for stage in dict.fromkeys([*few, *unreached]):
            modules = [self._parts.modules[name] for name in stage.weights]
            needs, window = needed(self._recipe, modules), self._recipe.calibration.window
            columns = modules[0].shape[1]
            rows = few.get(stage, ())
            observed = self._siblings.completed(stage, rows, needs, columns, window)
            if observed is None:
                self._round_unseen(stage)
            else:
                self._round(stage, observed)

    def _round_unseen(self, stage: Stage) -> None:
        for name in stage.weights:
            module = self._parts.modules[name]
            rounded = round_nearest(module, self._parts.weight(name), self._parts.dtypes[name])
            self.seen[module.module] = Seen(tokens=0)
            self._keep(name, rounded, stage, None)

    def _correct_bias(
        self, name: str, weight: Tensor, rounded: Rounded, observed: Observation
    ) -> None:
        """Where the recipe asks for it and the linear has a bias."""
        bias = f"{name.removesuffix('.weight')}.bias"
        correction = self._recipe.correction
        if correction is None or bias not in self._parts.views:
            return
        view = self._parts.views[bias]
        quantized = rounded.tensor.dequantize()
        self.changed[bias] = correction.corrected(view, weight, quantized, observed)
        view.copy_(self.changed[bias])

    def _keep(
        self, name: str, rounded: Rounded, stage: Stage, observed: Observation | None
    ) -> None:
        module = self._parts.modules[name]
        few = _few(is_expert(stage), module, observed)
        notes = [note for note in (rounded.note, few) if note]
        self.rounded[module.module] = replace(rounded, note="; ".join(notes))
        self._parts.weight(name).copy_(rounded.tensor.dequantize())


def _few(expert: bool, module: ModulePlan, observed: Observation | None) -> str:
    """What to say of a linear that saw nothing, or of an expert that saw too little to judge by."""
    if observed is None:
        what = "expert" if expert else "linear"
        return f"no calibration token reached this {what}: rounded to nearest"
    if not expert or observed.tokens >= module.shape[1]:
        return ""
    reached = f"only {observed.tokens}" if observed.tokens else "no"
    return (
        f"{reached} calibration tokens reached this expert: what the others saw makes up for the "
        "rest; use more --tokens"
    )


def _seen(observed: Observation, weight: Tensor, rounded: Rounded, dtype: torch.dtype) -> Seen:
    error = None
    if observed.hessian is not None:
        error = _output_error(weight, rounded, observed.hessian.to(dtype))
    return Seen(observed.tokens, observed.stream, error)


def _output_error(weight: Tensor, rounded: Rounded, hessian: Tensor) -> float | None:
    """``tr(ΔW H ΔWᵀ) / tr(W H Wᵀ)``; ``None`` where inputs were zero or not finite.

    Products are in the type of ``hessian``: three digits of bfloat16 are enough for a report.
    """
    quantized = rounded.tensor

    def traces(start: int) -> tuple[float, float]:
        rows = weight[start : start + _PANEL].float()
        lost = rows - quantized.rows(start, start + _PANEL).dequantize()
        return _trace(rows, hessian), _trace(lost, hessian)

    found = list(in_order(traces, range(0, len(weight), _PANEL)))
    signal, noise = (sum(part) for part in zip(*found, strict=True))
    ratio = noise / signal if signal > 0 else float("nan")
    return max(ratio, 0.0) if isfinite(ratio) else None


def _trace(rows: Tensor, hessian: Tensor) -> float:
    """``tr(R H Rᵀ)``."""
    return float(((rows.to(hessian.dtype) @ hessian) * rows).sum(dtype=torch.float64))
