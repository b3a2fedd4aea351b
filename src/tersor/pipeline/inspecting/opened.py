"""Models to look at, quantized or not, and their matrices by published name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source, shapes_of
from tersor.errors import FormatError, OptionError, SourceError
from tersor.formats import QUANTIZATION, known_formats
from tersor.grids import QuantizedTensor
from tersor.models.architecture import Architecture, Role
from tersor.models.describing import describe
from tersor.models.experts import unfuse, unfused_shapes
from tersor.models.in_transformers.sizes import check_sizes
from tersor.options import did_you_mean
from tersor.runtime.artifact import Artifact, artifact_of

# The squares of larger ones leave float32.
_LARGEST = 1e18


@dataclass(frozen=True, eq=False)
class Original:
    """A model that is not quantized."""

    source: Source
    architecture: Architecture

    @cached_property
    def holders(self) -> Mapping[str, str]:
        """Published name of every matrix, without ``.weight`` → tensor on disk that holds it."""
        return {module: disk for module, (disk, _) in self._found.items()}

    @cached_property
    def _tensor(self) -> Callable[[str], Tensor]:
        """Reads a tensor on disk; the last one is kept, since experts of a stack come in a row."""
        return lru_cache(maxsize=1)(lambda disk: self.source.read([disk])[disk])

    def weights(self, module: str) -> int:
        """How many a matrix has."""
        return prod(self._found[module][1])

    @cached_property
    def _found(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        found: dict[str, tuple[str, tuple[int, ...]]] = {}
        for info in self.source.tensors.values():
            for name, shape in unfused_shapes(self.architecture, info.name, info.shape).items():
                if len(shape) == 2 and self.role(name, shape) is not Role.OTHER:
                    found[name.removesuffix(".weight")] = (info.name, shape)
        return found

    def role(self, name: str, shape: tuple[int, ...]) -> Role:
        """What a matrix is; experts of a stack are linears."""
        if name not in self.source.tensors:
            return Role.LINEAR
        return self.architecture.role(name, shape)

    def named(self, name: str) -> str:
        """The key of :attr:`holders` that is meant; see :func:`module_named`."""
        head = self.architecture.untied_head.removesuffix(".weight")
        embedding = (self.architecture.embedding or "").removesuffix(".weight")
        alone = head not in self.holders and embedding in self.holders
        if alone and isinstance(name, str) and name.removesuffix(".weight") == head:
            raise OptionError("tensor", f"{name} is the embedding too; give {embedding}")
        return module_named(name, self.holders, self.source.path, self.source.tensors)

    def matrix(self, module: str) -> Tensor:
        """A matrix ``(out, in)`` as it is stored. ``module`` is one of :attr:`holders`.

        Raises :class:`~tersor.errors.SourceError` for weights that cannot be calculated with.
        """
        disk, name = self.holders[module], f"{module}.weight"
        weight = unfuse(self.architecture, disk, self._tensor(disk))[name]
        _refuse_large(f"{self.source.path}: {name}", *weight.aminmax())
        return weight.T.contiguous() if self.architecture.is_transposed(name) else weight


def open_original(
    path: Path, *, allow_pickle: bool = False, merge_adapter: bool = False
) -> Original:
    """Open a model that is not quantized. Raises :class:`~tersor.errors.SourceError`."""
    source = open_source(path, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    if QUANTIZATION in source.config:
        raise SourceError(f"{path}: is quantized; give the original model")
    return original_of(source)


def open_either(
    path: Path, *, allow_pickle: bool = False, merge_adapter: bool = False
) -> Original | Artifact:
    """Open a model, quantized or not.

    Raises :class:`~tersor.errors.SourceError` and :class:`~tersor.errors.FormatError`.
    """
    formats = known_formats()
    if path.is_dir() and not (path / "config.json").is_file():
        source = formats.open(path)
    else:
        source = open_source(path, allow_pickle=allow_pickle, merge_adapter=merge_adapter)
    if QUANTIZATION not in source.config:
        return original_of(source)
    if merge_adapter:
        raise OptionError("merge_adapter", f"has no effect on a quantized model: {path}")
    return artifact_of(formats.open(path), formats)


def original_of(source: Source) -> Original:
    """The matrices of a source whose ``config.json`` fits its weights."""
    shapes = shapes_of(source)
    check_sizes(source.path, source.config, shapes)
    return Original(source, describe(source.config, shapes))


def quantized_matrix(artifact: Artifact, module: str) -> QuantizedTensor:
    """A quantized matrix whose restored weights are numbers that can be calculated with.

    Raises :class:`~tersor.errors.FormatError` or :class:`~tersor.errors.SourceError` naming it.
    """
    quantized = artifact.linear(module).weight
    low, high = quantized.grid.span(quantized.scale.value(), quantized.zero_point)
    _refuse_large(f"{artifact.source.path}: {module}", low.amin(), high.amax())
    codes = quantized.codes
    if codes.dtype.is_floating_point and bool(codes.float().isnan().any()):
        raise FormatError(
            f"{artifact.source.path}: {module} holds codes that stand for no number; make or "
            "download the artifact again"
        )
    return quantized


def _refuse_large(what: str, low: Tensor, high: Tensor) -> None:
    largest = float(torch.maximum(-low, high))
    if not largest < _LARGEST:
        raise SourceError(
            f"{what} has weights up to {largest:.3g}, whose squares no float32 number holds; "
            "download the model again"
        )


def module_named(
    name: str, known: Mapping[str, object], path: Path, others: Mapping[str, object]
) -> str:
    """The module of a matrix by its name, which may end in ``.weight`` and begin anywhere.

    ``others``: further tensors, which are no matrices. Raises :class:`OptionError` with the nearest
    name.
    """
    if not isinstance(name, str) or not name:
        raise OptionError("tensor", f"must be the name of a matrix, not {name!r}")
    module = name.removesuffix(".weight")
    if module in known:
        return module
    if {name, module, f"{module}.weight"} & others.keys():
        raise OptionError("tensor", f"{name} is no matrix that is quantized; it stays as it is")
    ending = [one for one in known if one.endswith(f".{module}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise OptionError(
            "tensor",
            f"{name!r} is the end of {len(ending)} names, the first is {ending[0]!r}",
        )
    hint = did_you_mean(module, [*known, *(other.removesuffix(".weight") for other in others)])
    raise OptionError("tensor", f"{name!r} is not in {path}{hint}")
