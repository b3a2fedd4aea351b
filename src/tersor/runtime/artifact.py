"""Reading a quantized model directory, whatever its format."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.huggingface.directory import open_directory
from tersor.checkpoints.source import Source, shapes_of
from tersor.errors import FormatError
from tersor.formats import (
    InputParameters,
    QuantizedLinear,
    check,
    compressed_tensors,
    decode,
    decode_input,
    own,
)
from tersor.grids import Scheme
from tersor.models.in_transformers.sizes import check_sizes

QUANTIZED_SUFFIXES = (
    "weight_packed",
    "weight_shape",
    "weight_scale",
    "weight_zero_point",
    "weight_global_scale",
    "weight_codebook",
    "input_scale",
    "input_zero_point",
)


@dataclass(frozen=True)
class Artifact:
    """A quantized model directory.

    ``schemes``: scheme of every quantized module. ``transposed``: modules whose dense weight is
    ``(in, out)`` in the model. ``experts``: those that tersor alone names.
    """

    source: Source
    schemes: Mapping[str, Scheme]
    transposed: frozenset[str]
    experts: tuple[own.StackedExperts, ...] = ()

    @property
    def config(self) -> Mapping[str, Any]:
        """``config.json``."""
        return self.source.config

    def linear(self, module: str) -> QuantizedLinear:
        """One quantized linear. Raises :class:`FormatError` if its tensors do not fit it."""
        with _named(self.source.path):
            return decode(self._tensors(module), self.schemes[module], module)

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of every tensor of the unquantized model, by its name there; reads no codes.

        Raises :class:`FormatError` naming the first tensor that does not fit its scheme, or holds a
        scale that is not finite.
        """
        found = {name: self.source.tensors[name].shape for name in self.plain_names()}
        with _named(self.source.path):
            for module, scheme in self.schemes.items():
                shape = check(self._tensors(module), scheme, module)
                found[f"{module}.weight"] = shape[::-1] if module in self.transposed else shape
        return found

    def input(self, module: str) -> InputParameters | None:
        """Parameters of static activations, without reading the weight."""
        return decode_input(self._by_suffix(module, ("input_scale", "input_zero_point")))

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
        suffixes = ("weight", *QUANTIZED_SUFFIXES)
        parts = {f"{module}.{suffix}" for module in self.schemes for suffix in suffixes}
        return [name for name in self.source.tensors if name not in parts]

    def _tensors(self, module: str) -> dict[str, Tensor]:
        return self._by_suffix(module, ("weight", *QUANTIZED_SUFFIXES))

    def _by_suffix(self, module: str, suffixes: Iterable[str]) -> dict[str, Tensor]:
        """Those tensors of a module that there are."""
        names = {f"{module}.{suffix}": suffix for suffix in suffixes}
        found = self.source.read([name for name in names if name in self.source.tensors])
        return {names[name]: tensor for name, tensor in found.items()}


def open_artifact(directory: Path) -> Artifact:
    """Open a directory in compressed-tensors or tersor's own format.

    Raises :class:`~tersor.errors.SourceError` if it is no model directory, and what
    :func:`artifact_of` raises.
    """
    return artifact_of(open_directory(directory))


def artifact_of(source: Source) -> Artifact:
    """The artifact that lies in an opened directory.

    Raises :class:`FormatError` if it is not quantized, in a format that is not ours to read, has
    tensors that do not fit what it says of them, or a scale that is not finite. Only scales and the
    like are read of tensors.
    """
    config = source.config.get("quantization_config")
    if not isinstance(config, Mapping):
        raise FormatError(f"{source.path} is not quantized: config.json has no quantization_config")
    with _named(source.path):
        found = _described(source, config)
    _ = found.shapes
    return found


def _described(source: Source, config: Mapping[str, Any]) -> Artifact:
    """The artifact as its ``quantization_config`` says."""
    modules = _quantized_modules(source.tensors)
    match config.get("quant_method"):
        case compressed_tensors.METHOD:
            schemes = compressed_tensors.schemes_of(config, modules)
            return Artifact(source, schemes, frozenset())
        case own.METHOD:
            schemes = own.schemes_of(config)
            missing = sorted(set(modules) ^ set(schemes))
            if missing:
                raise FormatError(f"tensors and config disagree about {missing[0]!r}")
            return Artifact(source, schemes, own.transposed(config), own.stacked_experts(config))
        case method:
            raise FormatError(
                f"tersor does not read quant_method {method!r}; "
                f"it reads {compressed_tensors.METHOD} and {own.METHOD}; `tersor restore` makes a "
                "plain model of fp8 and mxfp4"
            )


@dataclass(frozen=True)
class Stored:
    """A model directory that is to be run; ``artifact`` if it is quantized."""

    source: Source
    artifact: Artifact | None


def open_stored(directory: Path) -> Stored:
    """Open a model directory, quantized or not, whose ``config.json`` fits its weights.

    Raises what :func:`open_artifact` raises, and :class:`~tersor.errors.SourceError` for other
    sizes in ``config.json`` than the weights have.
    """
    source = open_directory(directory)
    quantized = "quantization_config" in source.config
    artifact = artifact_of(source) if quantized else None
    shapes = shapes_of(source) if artifact is None else artifact.shapes
    check_sizes(directory, source.config, shapes)
    return Stored(source, artifact)


def _quantized_modules(names: Iterable[str]) -> list[str]:
    """Modules with any tensor that only quantized ones have, each once."""
    parts = (name.rpartition(".") for name in names)
    return list(
        dict.fromkeys(module for module, _, suffix in parts if suffix in QUANTIZED_SUFFIXES)
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of the block name the artifact."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
