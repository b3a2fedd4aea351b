"""A plan as a value: what happens to every tensor, and how large the result will be."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from tersor.checkpoints.source import Source, TensorInfo
from tersor.formats import Contents, Format, Matrix, Reading
from tersor.grids import Scheme
from tersor.models.architecture import Architecture
from tersor.pipeline.budgets.found import Budget
from tersor.ranges import Range
from tersor.recipes import Made, Recipe
from tersor.version import own_version


@dataclass(frozen=True)
class ModulePlan:
    """One matrix of the result: quantized if it has a scheme, else kept, and ``reason`` says why.

    ``shape``: ``(out, in)``; ``transposed`` matrices are ``(in, out)`` in the source.
    ``outputs``: the tensors that are written for it. ``scale_type``: of scales of format ``float``;
    ``may_widen``: names of outputs that are float32 if float16 cannot hold their values.
    """

    module: str
    shape: tuple[int, int]
    transposed: bool
    scheme: Scheme | None
    range: Range | None
    reason: str
    scale_type: torch.dtype
    outputs: tuple[TensorInfo, ...] = ()
    may_widen: tuple[str, ...] = ()

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
            if info.dtype is torch.float16 and info.name in self.may_widen
        )

    def written(self, outputs: Mapping[str, TensorInfo]) -> "ModulePlan":
        """With what was written for some tensors in place of what was planned."""
        return replace(self, outputs=tuple(outputs.get(info.name, info) for info in self.outputs))


@dataclass(frozen=True)
class TensorPlan:
    """A tensor of the source. If ``modules`` is empty no matrix: it is stored as ``kept``."""

    source: TensorInfo
    modules: tuple[ModulePlan, ...]
    kept: TensorInfo

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that are written for it."""
        if not self.modules:
            return (self.kept,)
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
    ``budget``: what it was chosen within, if it was.
    """

    model: Path
    recipe: Recipe
    architecture: Architecture
    units: tuple[Unit, ...]
    written_as: Format
    notes: tuple[str, ...]
    budget: Budget | None = None

    def modules(self) -> Iterator[ModulePlan]:
        """All matrices with a decision, in order."""
        return modules_of(self.units)

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

    @property
    def format(self) -> str:
        """The name of the format that it is written in."""
        return self.written_as.name

    def contents(self) -> Contents:
        """The model as a format sees it."""
        return contents_of(self.architecture, self.units)

    def readings(self) -> tuple[Reading, ...]:
        """Which known engines read the result."""
        return self.written_as.readings(self.contents())

    def stored_as(self) -> dict[str, str]:
        """How the format stores every quantized matrix, in its own words."""
        return {
            module.module: self.written_as.stored_as(module.scheme, module.shape)
            for module in self.quantized()
            if module.scheme is not None
        }

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of the result, from that of the source."""
        return self.written_as.config(self.contents(), config)

    def overhead(self, source: Source) -> int:
        """Bytes that the files of the tensors take besides their values; see ``Container``.

        ``source``: the one that the plan is for. Raises :class:`~tersor.errors.TersorError` for
        what such files cannot say of its model.
        """
        return self.written_as.container.overhead(
            list(self.outputs()), self.config(source.config), source
        )

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
            "stored_as": self.stored_as(),
            "kept": {module.module: module.reason for module in self.modules() if module.reason},
            "readers": [reading.to_dict() for reading in self.readings()],
            "notes": list(self.notes),
            **({} if self.budget is None else {"budget": self.budget.to_dict()}),
        }


def modules_of(units: Iterable[Unit]) -> Iterator[ModulePlan]:
    """All matrices with a decision, in order."""
    return (module for unit in units for tensor in unit.tensors for module in tensor.modules)


def contents_of(architecture: Architecture, units: Iterable[Unit]) -> Contents:
    """A model whose matrices are decided, as a format sees it."""
    modules = list(modules_of(units))
    quantized = tuple(
        Matrix(
            one.module,
            one.shape,
            architecture.role(f"{one.module}.weight", one.shape),
            one.scheme,
            one.transposed,
        )
        for one in modules
        if one.scheme is not None
    )
    kept = tuple(one.module for one in modules if one.scheme is None)
    return Contents(architecture, quantized, kept)
