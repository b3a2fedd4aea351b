"""Reading a quantized model, whatever its format."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.source import Source, shapes_of
from tersor.errors import FormatError
from tersor.formats import (
    QUANTIZATION,
    Description,
    Format,
    Formats,
    InputParameters,
    QuantizedLinear,
    StackedExperts,
    known_formats,
)
from tersor.grids import Scheme
from tersor.models.in_transformers.sizes import check_sizes


@dataclass(frozen=True)
class Artifact:
    """A quantized model: tensors, the format they are in, and what it says of them."""

    source: Source
    format: Format
    description: Description

    @property
    def config(self) -> Mapping[str, Any]:
        """``config.json``."""
        return self.source.config

    @property
    def schemes(self) -> Mapping[str, Scheme]:
        """Scheme of every quantized module."""
        return self.description.schemes

    @property
    def transposed(self) -> frozenset[str]:
        """Modules whose dense weight is ``(in, out)`` in the model."""
        return self.description.transposed

    @property
    def experts(self) -> tuple[StackedExperts, ...]:
        """Those that tersor alone names."""
        return self.description.experts

    def linear(self, module: str) -> QuantizedLinear:
        """One quantized linear. Raises :class:`FormatError` if its tensors do not fit it."""
        with _named(self.source.path):
            return self.format.linear(self._tensors(module), self.schemes[module], module)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of every tensor of the unquantized model, by its name there; reads no codes.

        Raises :class:`FormatError` naming the first tensor that does not fit its scheme, or holds a
        scale that is not finite.
        """
        found = {name: self.source.tensors[name].shape for name in self.plain_names()}
        with _named(self.source.path):
            for module, scheme in self.schemes.items():
                shape = self.format.check(self._tensors(module), scheme, module)
                found[f"{module}.weight"] = shape[::-1] if module in self.transposed else shape
        return found

    def input(self, module: str) -> InputParameters | None:
        """Parameters of static activations, without reading the weight."""
        return self.format.decode_input(self._by_suffix(module, self.format.input_suffixes))

    def dense(self, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the unquantized model, names as in an unquantized checkpoint.

        Quantized weights are dequantized to ``dtype``; other floating tensors are cast to it.
        """
        for module in self.schemes:
            weight = self.linear(module).weight.dequantize(dtype)
            yield f"{module}.weight", weight.T.contiguous() if module in self.transposed else weight
        for name in self.plain_names():
            tensor = self.source.read([name])[name]
            yield name, tensor.to(dtype) if tensor.is_floating_point() else tensor

    def plain_names(self) -> list[str]:
        """Tensors that belong to no quantized module."""
        suffixes = self.format.suffixes
        parts = {f"{module}.{suffix}" for module in self.schemes for suffix in suffixes}
        return [name for name in self.source.tensors if name not in parts]

    def _tensors(self, module: str) -> dict[str, Tensor]:
        return self._by_suffix(module, self.format.suffixes)

    def _by_suffix(self, module: str, suffixes: Iterable[str]) -> dict[str, Tensor]:
        """Those tensors of a module that there are."""
        names = {f"{module}.{suffix}": suffix for suffix in suffixes}
        found = self.source.read([name for name in names if name in self.source.tensors])
        return {names[name]: tensor for name, tensor in found.items()}


def open_artifact(path: Path, formats: Formats | None = None) -> Artifact:
    """Open an artifact in one of ``formats``, by default every known one.

    Raises :class:`~tersor.errors.SourceError` if it is no model, and what :func:`artifact_of`
    raises.
    """
    formats = formats or known_formats()
    return artifact_of(formats.open(path), formats)


def artifact_of(source: Source, formats: Formats | None = None) -> Artifact:
    """The artifact that a source was opened from.

    Raises :class:`FormatError` if it is not quantized, in a format that is not known, has
    tensors that do not fit what it says of them, or a scale that is not finite. Only scales and the
    like are read of tensors.
    """
    found = undecoded(source, formats)
    _ = found.shapes
    return found


def undecoded(source: Source, formats: Formats | None = None) -> Artifact:
    """The same, but no tensor has been held against its scheme yet."""
    format_ = (formats or known_formats()).describing(source.config, source.path)
    modules = _quantized_modules(source.tensors, format_)
    with _named(source.path):
        return Artifact(source, format_, format_.described(source.config[QUANTIZATION], modules))


@dataclass(frozen=True)
class Stored:
    """A model that is to be run; ``artifact`` if it is quantized."""

    source: Source
    artifact: Artifact | None


def open_stored(directory: Path) -> Stored:
    """Open a model, quantized or not, whose ``config.json`` fits its weights.

    Raises what :func:`open_artifact` raises, and :class:`~tersor.errors.SourceError` for other
    sizes in ``config.json`` than the weights have.
    """
    source = known_formats().open(directory)
    artifact = artifact_of(source) if QUANTIZATION in source.config else None
    shapes = shapes_of(source) if artifact is None else artifact.shapes
    check_sizes(directory, source.config, shapes)
    return Stored(source, artifact)


def _quantized_modules(names: Iterable[str], format_: Format) -> list[str]:
    """Modules with any tensor that only quantized ones have, each once."""
    parts = (name.rpartition(".") for name in names)
    return list(dict.fromkeys(module for module, _, suffix in parts if suffix in format_.marks))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the block name the artifact."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
