"""Sensitivities of a model: estimates of all parts, and the divergence itself of some or all."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from tersor.byte_sizes import human_bytes
from tersor.calibration.memory import ActivationMemory
from tersor.calibration.precision import Precision
from tersor.calibration.text import TextFile
from tersor.checkpoints.source import Source
from tersor.grids import QuantizedTensor
from tersor.machine.memory import refuse_beyond_memory
from tersor.pipeline.planning import ModulePlan
from tersor.pipeline.sensitivity.candidates import (
    Candidates,
    Label,
    Wanted,
    alone,
    candidates,
    rounded_alone,
    rounded_block,
)
from tersor.pipeline.sensitivity.estimates.gradients import Seen, backward
from tersor.pipeline.sensitivity.estimates.scores import COMPENSATED, NEAREST, SCORES, Windows
from tersor.pipeline.sensitivity.exact import exact_divergence, outside_divergence
from tersor.pipeline.sensitivity.kept import Kept, Key
from tersor.pipeline.sensitivity.original import Original
from tersor.pipeline.sensitivity.protocol import Protocol
from tersor.pipeline.sensitivity.result import Sensitivity, SensitivityResult, spearman
from tersor.pipeline.sensitivity.units import Unit, units_of
from tersor.pipeline.whole_model.windows import CalibrationText, calibration_text
from tersor.ranges import Need
from tersor.recipes import Calibration, Recipe, dump

Watch = Callable[[str], Callable[[int, int], None] | None]
"""Given the name of a piece of work, returns the progress callback for it."""

_MEMORY = 4 * 10**9


def sensitivities(
    source: Source,
    recipe: Recipe,
    variants: Mapping[Label, Recipe],
    *,
    by: str = "linear",
    wanted: Wanted = lambda _, __: True,
    texts: Sequence[TextFile] = (),
    protocol: Protocol = Protocol(),
    watch: Watch = lambda _: None,
) -> SensitivityResult:
    """What quantizing each part of ``source`` alone does, for each of the ``variants``.

    ``recipe``: how matrices are rounded. ``texts``: without any, the mixture of tersor.
    ``wanted``: called with every module and label. The model is in memory in float32, and the codes
    of all variants.

    Raises :class:`~tersor.errors.SourceError` for a model that cannot be run block by block, and
    :class:`~tersor.errors.OutOfMemory` where it cannot fit.
    """
    started = time.perf_counter()
    plain, notes = alone(recipe)
    if protocol.score is None:
        independent = Need.SECOND_MOMENTS not in plain.rounding.needs
        protocol = replace(protocol, score=NEAREST if independent else COMPENSATED)
    every = {label: alone(variant)[0] for label, variant in variants.items()}
    chosen = candidates(source, plain, every, wanted)
    run = _Run(source, chosen, units_of(chosen.architecture, chosen.names(), by), protocol)
    rows, read = run.rows(texts, watch)
    assert protocol.score is not None
    return SensitivityResult(
        source.path,
        recipe.name,
        by,
        protocol.score,
        tuple(rows),
        read.record.line(),
        run.positions,
        spearman(rows) if any(row.exact is not None for row in rows) else {},
        tuple(dict.fromkeys([*notes, *read.notes])),
        time.perf_counter() - started,
    )


@dataclass
class _Run:
    source: Source
    candidates: Candidates
    units: list[Unit]
    protocol: Protocol
    positions: int = 0
    quantized: dict[Key, QuantizedTensor] = field(default_factory=dict)

    def rows(
        self, texts: Sequence[TextFile], watch: Watch
    ) -> tuple[list[Sensitivity], CalibrationText]:
        """Everything; what was kept is not measured again."""
        read, tokens, scored = self._text(texts)
        first = len(read.record.first_tokens)
        self.positions = scored * (tokens.shape[1] - 1 - first)
        kept = Kept(self.source, self._key(read, scored))
        wanted = self._wanted_exactly()
        estimates, exact = kept.figures("estimate"), kept.figures("exact")
        missing = [key for key in wanted if key not in exact]
        if missing or any(key not in estimates for key in self.candidates.pairs()):
            self._refuse_too_large(tokens)
            original = Original(
                self.source,
                self.candidates.architecture,
                tokens,
                ActivationMemory(_MEMORY),
                first=first,
                scored=scored,
                progress=watch("run"),
            )
            run = _Measuring(self, original, kept)
            estimates = run.estimates(watch)
            exact = run.exact(missing, watch)
        rows = [self._row(unit, label, estimates, exact, wanted) for unit, label in self._pairs()]
        return rows, read

    def _pairs(self) -> list[tuple[Unit, Label]]:
        return [
            (unit, label)
            for label, modules in self.candidates.modules.items()
            for unit in self.units
            if all(module in modules for module in unit.modules)
        ]

    def _wanted_exactly(self) -> list[Key]:
        """Parts that are measured: all, or a sample, the same of every scheme."""
        names = [unit.name for unit in self.units]
        count = self.protocol.exact
        if count is not None and count < len(names):
            names = random.Random(self.protocol.seed).sample(names, count)
        drawn = set(names)
        return [(unit.name, label) for unit, label in self._pairs() if unit.name in drawn]

    def _text(self, texts: Sequence[TextFile]) -> tuple[CalibrationText, Tensor, int]:
        """Windows in an order by chance, and how many of the first are predicted."""
        protocol, fit = self.protocol, 0
        if self.candidates.reads_inputs:
            fit = min(protocol.fit, self.candidates.recipe.calibration.tokens)
        budget = Calibration(tokens=protocol.tokens + fit, window=protocol.window)
        read = calibration_text(self.source, texts, budget, "measured")
        count = len(read.tokens)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(protocol.seed))
        share = count - round(count * fit / budget.tokens)
        return read, read.tokens[order], max(1, share)

    def _key(self, read: CalibrationText, scored: int) -> dict[str, object]:
        plain = replace(self.candidates.recipe, name="x", description="", made=None)
        protocol = {k: v for k, v in asdict(self.protocol).items() if k != "exact"}
        return {
            "recipe": dump(plain),
            "candidates": [f"{k} {m.scheme}" for k, m in self._plans()],
            "text": read.record.sha256,
            "scored": scored,
            "computed": str(Precision.AUTO.dtype()),
            "protocol": protocol,
            "first": list(read.record.first_tokens),
            "parts": [unit.name for unit in self.units],
        }

    def _plans(self) -> Iterator[tuple[str, ModulePlan]]:
        for label, modules in self.candidates.modules.items():
            for name, module in modules.items():
                yield f"{name} {label}", module

    def _refuse_too_large(self, tokens: Tensor) -> None:
        plan = self.candidates.plan
        weights = sum(module.weights for module in plan.modules())
        widest = max(module.shape[1] for module in plan.quantized())
        activations = 4 * tokens.numel() * widest * (plan.architecture.blocks + 2)
        needed = (4 + len(self.candidates.schemes)) * weights + activations
        refuse_beyond_memory(
            needed,
            f"measuring a model of {human_bytes(2 * weights)} in float32",
            "use fewer --tokens or --schemes, or a larger machine",
        )

    def _row(
        self,
        unit: Unit,
        label: Label,
        estimates: Mapping[Key, float],
        exact: Mapping[Key, float],
        wanted: Sequence[Key],
    ) -> Sensitivity:
        modules = [self.candidates.modules[label][module] for module in unit.modules]
        return Sensitivity(
            unit.name,
            unit.role,
            unit.block,
            label,
            len(modules),
            sum(module.weights for module in modules),
            sum(module.stored_bytes for module in modules),
            sum(estimates[module, label] for module in unit.modules),
            exact[unit.name, label] if (unit.name, label) in wanted else None,
        )


class _Measuring:
    """A run whose model is in memory."""

    def __init__(self, run: _Run, original: Original, kept: Kept) -> None:
        self._run, self._original, self._kept = run, original, kept
        self._candidates, self._protocol = run.candidates, run.protocol

    def estimates(self, watch: Watch) -> dict[Key, float]:
        """Of every module; head and embedding are measured, which costs little."""
        found = self._kept.figures("estimate")
        outside = [key for key in self._candidates.pairs() if self._block(key[0]) is None]
        progress = watch("head and embedding")
        for done, key in enumerate(outside):
            if key not in found:
                found[key] = self._outside(key)
            if progress is not None:
                progress(done + 1, len(outside))
        found |= self._inside(found, watch("estimate"))
        self._kept.add("estimate", found)
        return found

    def exact(self, keys: Sequence[Key], watch: Watch) -> dict[Key, float]:
        """Of every part that is asked for, kept one by one."""
        found = self._kept.figures("exact")
        units = {unit.name: unit for unit in self._run.units}
        progress = watch("measure")
        for done, (name, label) in enumerate(keys):
            modules = units[name].modules
            if self._block(modules[0]) is None:
                found[name, label] = self._kept.figures("estimate")[modules[0], label]
            else:
                chosen = {f"{m}.weight": self._run.quantized[m, label] for m in modules}
                found[name, label] = exact_divergence(self._original, chosen)
            self._kept.add("exact", {(name, label): found[name, label]})
            if progress is not None:
                progress(done + 1, len(keys))
        return found

    def _outside(self, key: Key) -> float:
        module, label = key
        name = f"{module}.weight"
        weight = self._original.source.read([name])[name].float()
        changed = rounded_alone(self._candidates.modules[label][module], weight).dequantize()
        return outside_divergence(self._original, name, changed)

    def _inside(
        self, known: Mapping[Key, float], progress: Callable[[int, int], None] | None
    ) -> dict[Key, float]:
        original, score = self._original, SCORES[self._protocol.score or NEAREST]
        found: dict[Key, float] = {}
        total = len(original.calls)
        inside = {f"{m}.weight" for m in self._candidates.names()}
        seed, labels = self._protocol.seed, score.labels
        dtype = Precision.AUTO.dtype()
        for block, seen in backward(original, inside, seed, labels=labels, dtype=dtype):
            names = [f"{m}.weight" for m in self._candidates.names() if self._block(m) == block]
            weights = {name: original.weight(name) for name in names}
            made = rounded_block(
                self._candidates, original.source, weights, seen, block, original.windows
            )
            for module, windows in self._scored(seen, names):
                for label in self._candidates.schemes:
                    if (module, label) in made:
                        change = made[module, label].dequantize() - weights[f"{module}.weight"]
                        found[module, label] = score.of(windows, change) / self._run.positions
            found |= {key: 0.0 for key in made if key not in found}  # experts without a token
            if self._protocol.exact != 0:
                self._run.quantized |= made
            if progress is not None:
                progress(total - block, total)
        return found

    def _scored(self, seen: Seen, names: Sequence[str]) -> Iterator[tuple[str, Windows]]:
        """Module and what it read and got back, of those that tokens reached."""
        for name in names:
            windows = [w for w in seen.get(name, ()) if w.number < self._original.windows]
            if windows:
                yield name.removesuffix(".weight"), Windows.of(windows)

    def _block(self, module: str) -> int | None:
        return self._original.architecture.block_of(f"{module}.weight")
