"""A quantized model, whatever its format, written in another one with the same codes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.finite import FiniteSource
from tersor.checkpoints.gateway.readable import refuse_unreadable
from tersor.checkpoints.output.directory import OutputDirectory
from tersor.checkpoints.source import TensorInfo, block_order
from tersor.errors import ReadBackError, SchemeError
from tersor.formats import (
    QUANTIZATION,
    Contents,
    Description,
    Format,
    Formats,
    Matrix,
    QuantizedLinear,
    known_formats,
)
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.grids import Scheme
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.in_transformers.sizes import check_sizes
from tersor.pipeline.exchange.card import texts_about
from tersor.pipeline.exchange.simplest import float_types, simplest, simplified
from tersor.pipeline.planning.layout import chosen_format
from tersor.runtime.artifact import Artifact, artifact_of
from tersor.version import own_version

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConvertResult:
    """What was made. ``modules``: quantized ones, whose codes, scales and zeros are the source's.

    ``source_format``: empty if the source is not quantized. ``bytes``: of all tensors; ``notes``:
    what else is to be said.
    """

    source: Path
    directory: Path
    source_format: str
    format: str
    modules: int
    bytes: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "version": own_version(),
            "source": str(self.source),
            "directory": str(self.directory),
            "source_format": self.source_format,
            "format": self.format,
            "modules": self.modules,
            "bytes": self.bytes,
            "notes": list(self.notes),
        }


def convert(
    source: Path,
    out: Path,
    format_: Format | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> ConvertResult:
    """Write the artifact at ``source`` to ``out`` in ``format_``, by default the first that fits.

    A model that is not quantized is written as it is by formats that have a use for such. Every
    linear is decoded and encoded before anything is written, and what was written is read
    back and held against it. ``progress``: called with tensors done and all, of both.

    Raises :class:`SchemeError` if the format cannot hold it, with the reason,
    :class:`~tersor.errors.FormatError` and :class:`~tersor.errors.SourceError` for a source that
    cannot be read, and :class:`~tersor.errors.OutputError`.
    """
    place = HUGGING_FACE if format_ is None else format_.container
    OutputDirectory(out, source=source, force=force, kind=place).check()
    artifact = _opened(source, format_)
    plain = {key: value for key, value in artifact.config.items() if key != QUANTIZATION}
    refuse_unreadable(plain, source)
    check_sizes(source, plain, artifact.shapes)
    architecture = describe(artifact.config, artifact.shapes)
    work = _Work(artifact, simplest(artifact), progress)
    contents = work.contents(architecture)
    target, note = chosen_format(contents, format_)
    notes = (*((note,) if note else ()), *target.remarks(contents))
    expected = work.planned(target)
    needed = sum(info.nbytes for info in expected)
    config = target.config(contents, plain)
    container = target.container
    with OutputDirectory(
        out, needed_bytes=needed, source=source, force=force, kind=container
    ) as staging:
        with container.writer(staging, expected, config, artifact.source) as writer:
            for tensors in work.written(target):
                writer.add(tensors)
        texts = texts_about(artifact, target, contents, needed, notes)
        container.describe(staging, artifact.source, config, texts)
        made = staging if container.file is None else staging / container.file
        if work.schemes:
            _verify(artifact_of(container.open(made), Formats.of(target)), work)
    modules = len(artifact.schemes)
    read_as = artifact.format.name if modules else ""
    return ConvertResult(source, out, read_as, target.name, modules, needed, notes)


def _opened(source: Path, target: Format | None) -> Artifact:
    found = known_formats().open(source)
    if QUANTIZATION in found.config or target is None or not target.holds_plain:
        return artifact_of(found)
    return Artifact(FiniteSource(found), target, Description({}))


@dataclass(frozen=True)
class _Work:
    """``schemes``: of every module as it will be written."""

    artifact: Artifact
    schemes: dict[str, Scheme]
    progress: Progress | None

    def contents(self, architecture: Architecture) -> Contents:
        shapes = self.artifact.shapes
        matrices = []
        for module, scheme in self.schemes.items():
            rows, columns = shapes[f"{module}.weight"]
            is_transposed = module in self.artifact.transposed
            shape = (columns, rows) if is_transposed else (rows, columns)
            role = architecture.role(f"{module}.weight", shape)
            matrices.append(Matrix(module, shape, role, scheme, is_transposed))
        kept = [
            name.removesuffix(".weight")
            for name in self.artifact.plain_names()
            if name.endswith(".weight") and len(shapes[name]) == 2
        ]
        return Contents(architecture, tuple(matrices), tuple(kept))

    def linear(self, module: str) -> QuantizedLinear:
        """One linear as it will be written."""
        types = float_types(self.artifact.config)
        return simplified(self.artifact.linear(module), self.schemes[module], types)

    def planned(self, target: Format) -> list[TensorInfo]:
        """Everything that will be written, in the order in which the model runs.

        Raises :class:`SchemeError` naming the module.
        """
        found: dict[str, list[TensorInfo]] = {}
        for done, module in enumerate(self.schemes):
            try:
                encoded = target.encode(self.linear(module))
            except SchemeError as error:
                raise SchemeError(f"{module}: {error}") from error
            found[f"{module}.weight"] = [
                TensorInfo(f"{module}.{suffix}", tensor.dtype, tuple(tensor.shape))
                for suffix, tensor in encoded.items()
            ]
            self._report(done)
        tensors = self.artifact.source.tensors
        found |= {name: [target.kept(tensors[name])] for name in self.artifact.plain_names()}
        return [info for name in block_order(found) for info in found[name]]

    def written(self, target: Format) -> Iterator[dict[str, Tensor]]:
        """The same, with values."""
        for done, module in enumerate(self.schemes, len(self.schemes)):
            encoded = target.encode(self.linear(module))
            yield {f"{module}.{suffix}": tensor for suffix, tensor in encoded.items()}
            self._report(done)
        for done, name in enumerate(self.artifact.plain_names(), 2 * len(self.schemes)):
            kept = target.kept(self.artifact.source.tensors[name])
            yield {name: self.artifact.source.read([name])[name].to(kept.dtype).contiguous()}
            self._report(done)

    def _report(self, done: int) -> None:
        if self.progress is not None:
            plain = len(self.artifact.plain_names())
            self.progress(done + 1, 2 * len(self.schemes) + plain)


def _verify(made: Artifact, work: _Work) -> None:
    """Raise :class:`ReadBackError` unless every linear means what it was."""
    for module in work.schemes:
        meant, found = work.linear(module).weight, made.linear(module).weight
        if not torch.equal(meant.dequantize(), found.dequantize()):
            raise ReadBackError(f"{module} reads back differently; nothing was published")
