"""A plan as a value: what happens to every tensor, and how large the result will be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from tersor.checkpoints.source import TensorInfo
from tersor.formats import compressed_tensors, own
from tersor.formats.kinds.compressed_tensors.engines import Reading, Stored, readings
from tersor.grids import Scheme
from tersor.models.architecture import Architecture
from tersor.models.in_transformers.in_memory import InMemory, in_memory
from tersor.recipes import AnyRange, Made, Recipe
from tersor.version import own_version


@dataclass(frozen=True)
class ModulePlan:
    """One matrix of the result: quantized if it has a scheme, else kept, and ``reason`` says why.

    ``shape``: ``(out, in)``; ``transposed`` matrices are ``(in, out)`` in the source.
    ``outputs``: the tensors that are written for it.
    """

    module: str
    shape: tuple[int, int]
    transposed: bool
    scheme: Scheme | None
    range: AnyRange | None
    reason: str
    outputs: tuple[TensorInfo, ...]

    @property
    def weights(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors that are written for it."""
        return sum(info.nbytes for info in self.outputs)

    def float16_scales(self) -> tuple[TensorInfo, ...]:
        """The scales that will be float32 if float16 cannot hold them."""
        return tuple(
            info
            for info in self.outputs
            if info.dtype is torch.float16 and info.name.endswith("_scale")
        )

    def written(self, outputs: Mapping[str, TensorInfo]) -> "ModulePlan":
        """With what was written for some tensors in place of what was planned."""
        return replace(self, outputs=tuple(outputs.get(info.name, info) for info in self.outputs))


@dataclass(frozen=True)
class TensorPlan:
    """A tensor of the source: copied as it is if ``modules`` is empty."""

    source: TensorInfo
    modules: tuple[ModulePlan, ...]

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that are written for it."""
        if not self.modules:
            return (self.source,)
        return tuple(info for module in self.modules for info in module.outputs)

    def written(self, outputs: Mapping[str, TensorInfo]) -> "TensorPlan":
        """With what was written for some tensors in place of what was planned."""
        return replace(self, modules=tuple(module.written(outputs) for module in self.modules))


@dataclass(frozen=True)
class Unit:
    """Tensors that are in memory together: a block, or one tensor outside the blocks."""

    name: str
    tensors: tuple[TensorPlan, ...]


@dataclass(frozen=True)
class Plan:
    """The whole run, as a value: what is written for the tensors of ``model``, and how large it is.

    ``format``: ``compressed-tensors``, or ``tersor`` where that cannot hold the result. Sizes are
    in bytes, ``bytes_at_most`` with the scales in float32 that float16 may turn out not to hold.
    """

    model: Path
    recipe: Recipe
    architecture: Architecture
    units: tuple[Unit, ...]
    format: str
    notes: tuple[str, ...]

    def modules(self) -> Iterator[ModulePlan]:
        """All matrices with a decision, in order."""
        for unit in self.units:
            for tensor in unit.tensors:
                yield from tensor.modules

    def quantized(self) -> Iterator[ModulePlan]:
        """Those that are quantized."""
        return (module for module in self.modules() if module.scheme is not None)

    def outputs(self) -> Iterator[TensorInfo]:
        """Every tensor of the result, in the order it is written."""
        for unit in self.units:
            for tensor in unit.tensors:
                yield from tensor.outputs

    @property
    def bytes(self) -> int:
        """Bytes of all tensors of the result."""
        return sum(info.nbytes for info in self.outputs())

    @property
    def bytes_at_most(self) -> int:
        """``bytes`` if float16 could hold no scale of any matrix (``grids.store_float``)."""
        scales = (info for module in self.quantized() for info in module.float16_scales())
        return self.bytes + sum(info.nbytes for info in scales)

    def written(self, outputs: Mapping[str, TensorInfo]) -> "Plan":
        """The plan with what was written for some tensors, in place of what was planned."""
        if not outputs:
            return self
        units = (
            replace(unit, tensors=tuple(tensor.written(outputs) for tensor in unit.tensors))
            for unit in self.units
        )
        return replace(self, units=tuple(units))

    def with_made(self, made: Made) -> "Plan":
        """The plan with what was made by its recipe."""
        return replace(self, recipe=replace(self.recipe, made=made))

    def readings(self) -> tuple[Reading, ...]:
        """Which known engines read the result."""
        role = self.architecture.role
        stored = [
            Stored(m.module, m.shape, role(f"{m.module}.weight", m.shape), m.scheme)
            for m in self.quantized()
            if m.scheme is not None
        ]
        return readings(self.format, stored)

    @property
    def source_bytes(self) -> int:
        """Bytes of all tensors of the source."""
        return sum(tensor.source.nbytes for unit in self.units for tensor in unit.tensors)

    @property
    def bits_per_quantized_weight(self) -> float:
        """Bits stored per quantized weight, scales and zero points included."""
        modules = list(self.quantized())
        weights = sum(module.weights for module in modules)
        return 8 * sum(module.stored_bytes for module in modules) / weights if weights else 0.0

    @property
    def bits_per_weight(self) -> float:
        """Bits stored per parameter of the model, quantized or not."""
        parameters = sum(prod(t.source.shape) for unit in self.units for t in unit.tensors)
        return 8 * self.bytes / parameters if parameters else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Sizes, and what happens to every matrix; plain JSON types."""
        return {
            "version": own_version(),
            "model": str(self.model),
            "recipe": self.recipe.name,
            "scheme": str(self.recipe.scheme),
            "format": self.format,
            "bytes": self.bytes,
            "bytes_at_most": self.bytes_at_most,
            "source_bytes": self.source_bytes,
            "bits_per_weight": round(self.bits_per_weight, 4),
            "bits_per_quantized_weight": round(self.bits_per_quantized_weight, 4),
            "quantized": [module.module for module in self.quantized()],
            "kept": {module.module: module.reason for module in self.modules() if module.reason},
            "readers": [reading.to_dict() for reading in self.readings()],
            "notes": list(self.notes),
        }

    def quantization_config(self, config: Mapping[str, Any]) -> dict[str, object]:
        """``quantization_config`` for ``config.json``; ``config`` is the rest of it."""
        groups: dict[Scheme, list[str]] = {}
        for module in self.quantized():
            assert module.scheme is not None
            groups.setdefault(module.scheme, []).append(module.module)
        if self.format == own.METHOD:
            transposed = [module.module for module in self.quantized() if module.transposed]
            return own.quantization_config(groups, transposed, self._private_experts())
        if not self.architecture.is_foreign:
            return compressed_tensors.quantization_config(groups, self._kept_linears())
        names = in_memory(config, [module.module for module in self.modules()])
        return compressed_tensors.quantization_config(
            self._named_for_all(groups, names), self._kept_for_all(names), dense=True
        )

    def _named_for_all(
        self, groups: Mapping[Scheme, list[str]], names: InMemory
    ) -> dict[Scheme, list[str]]:
        """Modules by their names on disk and by those in memory."""
        taken = {module.module for module in self.modules()}
        return {
            scheme: [*modules, *sorted({names.modules.get(m, m) for m in modules} - taken)]
            for scheme, modules in groups.items()
        }

    def _kept_for_all(self, names: InMemory) -> list[str]:
        """What stays as it is by both names; in memory, every linear that is not quantized."""
        quantized = {module.module for module in self.quantized()}
        quantized |= {names.modules.get(module, module) for module in quantized}
        return sorted({*self._kept_linears(), *(names.linears - quantized)})

    def _private_experts(self) -> list[own.StackedExperts]:
        return [
            own.StackedExperts(f.parameter, f.parts, f.transposed, f.interleaved)
            for f in self.architecture.fused_experts
            if f.parameter
        ]

    def _kept_linears(self) -> list[str]:
        kept = {module.module for module in self.modules() if module.scheme is None}
        head = (self.architecture.head or "").removesuffix(".weight")
        if not any(module.module == head for module in self.quantized()):
            # Its name in memory, if it is tied to the embedding or called otherwise on disk.
            kept.add("lm_head")
        return sorted(kept)
