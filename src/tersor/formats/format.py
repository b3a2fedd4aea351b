"""What every format can do: all that anybody asks of one.

A format is a value of a class of its own, in one folder of :mod:`tersor.formats.kinds` or in
another package, and nothing else knows of it: see ``docs/extending.md``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersor.checkpoints.source import TensorInfo
from tersor.formats.containers.container import Container
from tersor.formats.containers.huggingface import HUGGING_FACE
from tersor.formats.contents import Contents, Description
from tersor.formats.entry import Entry, check_entries
from tersor.formats.linear import InputParameters, QuantizedLinear
from tersor.formats.mixture import Mixture
from tersor.formats.reading import Reading
from tersor.grids import Scheme

QUANTIZATION = "quantization_config"
"""Key of a config under which a format describes itself."""
METHOD = "quant_method"
"""Key of that description under which the format's name is."""

_WEIGHTS_FILE = "transformers_weights"


class Format(ABC):
    """How quantized models lie on disk.

    ``name``: by which it is chosen. ``suffixes``: of all tensors that
    it may store for a quantized linear, ``<module>.<suffix>``; ``input_suffixes``: of those that
    :meth:`decode_input` reads. ``container``: the files. ``preference``: formats that have one are
    tried in its order if none is asked for. ``mixtures``: its rules for whole models, by name.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    input_suffixes: ClassVar[tuple[str, ...]] = ()
    container: ClassVar[Container] = HUGGING_FACE
    preference: ClassVar[int | None] = None
    mixtures: ClassVar[Mapping[str, Mixture]] = {}

    @property
    def holds_plain(self) -> bool:
        """Whether a model that is not quantized may be written in it."""
        return False

    @property
    def method(self) -> str:
        """What descriptions call it: its name, but for versions of one that have names here."""
        return self.name

    @property
    def marks(self) -> tuple[str, ...]:
        """Suffixes of tensors that only quantized linears have."""
        return tuple(suffix for suffix in self.suffixes if suffix != "weight")

    # What it can hold: from names and shapes alone

    @abstractmethod
    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Why it cannot hold a linear ``(out, in)`` with this scheme, or ``None``; a sentence."""

    def obstacles(self, contents: Contents) -> list[str]:
        """Why it cannot hold a model; empty if it can. Each names the module it is about."""
        found = ((m.module, self.obstacle(m.scheme, m.shape)) for m in contents.matrices)
        return [f"{module}: {obstacle}" for module, obstacle in found if obstacle]

    def uncertain(self, scheme: Scheme) -> str | None:
        """Why only values tell whether a linear with this scheme fits, or ``None``; a sentence.

        Where codes are still to be made, it is an obstacle.
        """
        return None

    def made(self, scheme: Scheme) -> Scheme:
        """The scheme by which new codes are made: one that says how its scales are stored, say."""
        return scheme

    def scale_type(self, dtype: torch.dtype) -> torch.dtype:
        """Type of scales of format ``float`` in a model of ``dtype``; codes are made for them."""
        return dtype

    def kept(self, info: TensorInfo) -> TensorInfo:
        """How a tensor is stored that is not quantized."""
        return info

    def stored_as(self, scheme: Scheme, shape: tuple[int, int]) -> str:
        """What the format calls the way in which it stores a linear that has no obstacle."""
        return str(scheme.weights)

    def remarks(self, contents: Contents) -> tuple[str, ...]:
        """What is to be said of a model in this format before it is written; sentences."""
        return ()

    @property
    def instead(self) -> str:
        """What a plan says of a format that is taken because of what stands in others' way."""
        return f"written in the format {self.name}"

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """What each known engine does with such an artifact; tersor comes first."""
        return (Reading("tersor"),)

    # Tensors of one linear

    @abstractmethod
    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        """Suffix → type and shape of everything stored for a linear ``(out, in)``.

        ``dtype``: the model's float type. It may be asked about any scheme that has no obstacle.
        """

    @abstractmethod
    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """Suffix → tensor, as :meth:`layout` describes."""

    @abstractmethod
    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """``(out, in)`` of a linear, still to be held against its other tensors; reads no codes.

        ``module`` names it in errors. Raises :class:`~tersor.errors.FormatError`.
        """

    @abstractmethod
    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """Inverse of :meth:`encode`, bit for bit, for tensors that :meth:`check` let through."""

    def read_back(self, linear: QuantizedLinear) -> QuantizedLinear:
        """A linear as :meth:`decode` makes it of what :meth:`encode` made.

        It means the same; a format may say it in other words, as one that always has zero points.
        """
        return linear

    def decode_input(self, tensors: Mapping[str, Tensor]) -> InputParameters | None:
        """Parameters of static activations; ``None`` if there are none.

        ``tensors``: those of ``input_suffixes`` that there are.
        """
        return None

    def check(self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> tuple[int, int]:
        """``(out, in)`` of a linear whose tensors have the types and shapes of its scheme.

        Raises :class:`~tersor.errors.FormatError` if a tensor is missing, is one too many, is of
        another kind or holds a scale that means nothing.
        """
        shape = self.shape_of(tensors, scheme, module)
        check_entries(tensors, self.layout(scheme, shape, torch.float32), scheme, module)
        return shape

    def linear(self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> QuantizedLinear:
        """The linear whose tensors these are, checked. Raises what :meth:`check` raises."""
        return self.decode(tensors, scheme, self.check(tensors, scheme, module))

    # The description

    def as_described(self, description: Mapping[str, Any]) -> "Format":
        """The format as one artifact has it, if there are versions of it; else itself.

        Raises :class:`~tersor.errors.FormatError`.
        """
        return self

    @abstractmethod
    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """What the artifact says of itself, besides the format's name; plain JSON types.

        ``config``: that of the source.
        """

    @abstractmethod
    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """Inverse of :meth:`description`.

        ``modules``: those that have quantized tensors. Raises
        :class:`~tersor.errors.FormatError`.
        """

    def config(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of the artifact, from that of the source."""
        # The source's files have other names.
        rest = {key: value for key, value in config.items() if key != _WEIGHTS_FILE}
        return {**rest, QUANTIZATION: {METHOD: self.method, **self.description(contents, config)}}
