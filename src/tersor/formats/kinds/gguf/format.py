"""The format as a value."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.checkpoints.gguf.stored import METHOD
from tersor.checkpoints.gguf.writing.fields import writable_family
from tersor.checkpoints.source import TensorInfo
from tersor.errors import FormatError, SchemeError
from tersor.formats.contents import Contents, Description
from tersor.formats.entry import Entry, refuse_unsound
from tersor.formats.format import Format
from tersor.formats.kinds.gguf.block_type import Blocks
from tersor.formats.kinds.gguf.container import GGUF_FILE
from tersor.formats.kinds.gguf.matching import first_type, matched, obstacle, remark, uncertain
from tersor.formats.kinds.gguf.mixtures import MIXTURES
from tersor.formats.kinds.gguf.types import TYPES
from tersor.formats.linear import QuantizedLinear
from tersor.formats.reading import Reading
from tersor.formats.storage.kind import made_with_float16
from tersor.grids import QuantizedTensor, Scheme, StoredScale


class GgufFormat(Format):
    """See :class:`~tersor.formats.format.Format`.

    A linear is one tensor, whose suffix is its type: uint8 ``(out, bytes of a row)``.
    """

    name = METHOD
    suffixes = tuple(TYPES)
    container = GGUF_FILE
    mixtures = MIXTURES

    @property
    def holds_plain(self) -> bool:
        """llama.cpp runs floats too."""
        return True

    def obstacle(self, scheme: Scheme, shape: tuple[int, int]) -> str | None:
        """Whole blocks of a type that has these codes and groups."""
        return obstacle(scheme, shape)

    def uncertain(self, scheme: Scheme) -> str | None:
        """Zero points, and scales that must be products."""
        return uncertain(scheme)

    def made(self, scheme: Scheme) -> Scheme:
        """With float16 scales, and minima, whatever the model's type: codes are made for them."""
        return made_with_float16(scheme)

    def obstacles(self, contents: Contents) -> list[str]:
        """Models whose files are not known, too."""
        try:
            writable_family(contents.architecture.model_type)
        except SchemeError as error:
            return [str(error)]
        return super().obstacles(contents)

    def stored_as(self, scheme: Scheme, shape: tuple[int, int]) -> str:
        """Its type of blocks."""
        return first_type(scheme, shape).name

    def scale_type(self, dtype: torch.dtype) -> torch.dtype:
        """float16."""
        return torch.float16

    def kept(self, info: TensorInfo) -> TensorInfo:
        """Norms and biases in float32, as llama.cpp computes with them."""
        wide = len(info.shape) < 2 and info.dtype.is_floating_point
        return replace(info, dtype=torch.float32) if wide else info

    def readings(self, contents: Contents) -> tuple[Reading, ...]:
        """What reads GGUF."""
        return tuple(map(Reading, ("tersor", "llama.cpp", "Ollama")))

    def remarks(self, contents: Contents) -> tuple[str, ...]:
        """What becomes larger here."""
        return tuple(dict.fromkeys(filter(None, map(remark, contents.groups()))))

    def layout(
        self, scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
    ) -> dict[str, Entry]:
        """One tensor of blocks, of the type that new codes get."""
        kind = first_type(scheme, shape)
        return {kind.name: Entry(torch.uint8, (shape[0], kind.row_bytes(shape[1])))}

    def encode(self, linear: QuantizedLinear) -> dict[str, Tensor]:
        """Raises :class:`SchemeError` where no type holds its numbers."""
        kind, _, blocks = matched(linear.weight)
        return {kind.name: blocks}

    def read_back(self, linear: QuantizedLinear) -> QuantizedLinear:
        """In the terms of its type: float16 scales, minima in place of zero points."""
        kind, weight, _ = matched(linear.weight)
        return QuantizedLinear(weight, kind.scheme)

    def shape_of(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str
    ) -> tuple[int, int]:
        """Raises :class:`FormatError`."""
        kind, rows = _stored(tensors, module)
        columns = kind.columns(rows.shape[1])
        if rows.shape[0] == 0 or columns == 0:
            raise FormatError(f"{module}: {tuple(rows.shape)} bytes are no blocks of {kind.name}")
        return rows.shape[0], columns

    def check(self, tensors: Mapping[str, Tensor], scheme: Scheme, module: str) -> tuple[int, int]:
        """See :meth:`Format.check`; scales and minima are read, which are all over a row."""
        shape = self.shape_of(tensors, scheme, module)
        kind, rows = _stored(tensors, module)
        with np.errstate(all="ignore"):
            scales, minima = kind.parameters(kind.blocks(rows.numpy()))
        for values in (scales, minima):
            if values is not None:
                entry = Entry(torch.float32, shape, parameter=True)
                refuse_unsound(f"{module} ({kind.name})", torch.from_numpy(values), entry)
        return shape

    def decode(
        self, tensors: Mapping[str, Tensor], scheme: Scheme, shape: tuple[int, int]
    ) -> QuantizedLinear:
        """Codes, scales and minima, as llama.cpp has them."""
        kind, rows = _stored(tensors, "a linear")
        blocks = kind.blocks(rows.numpy())
        scales, minima = kind.parameters(blocks)
        weight = QuantizedTensor(
            _matrix(kind.codes(blocks), shape[0]),
            StoredScale(_matrix(scales, shape[0]), kind.scale_format),
            None if minima is None else _matrix(minima, shape[0]),
            scheme.weights,
        )
        return QuantizedLinear(weight, scheme)

    def description(self, contents: Contents, config: Mapping[str, Any]) -> dict[str, Any]:
        """Types by module, as new codes get them."""
        types = {m.module: first_type(m.scheme, m.shape).name for m in contents.matrices}
        transposed = [m.module for m in contents.matrices if m.transposed]
        return {"types": types, "transposed": transposed}

    def described(self, description: Mapping[str, Any], modules: Iterable[str]) -> Description:
        """Raises :class:`FormatError` for a type without kernels."""
        types, transposed = description.get("types"), description.get("transposed")
        if not isinstance(types, Mapping) or not isinstance(transposed, list):
            raise FormatError("quantization_config is not that of a GGUF file; give such a file")
        for module, kind in types.items():
            if kind not in TYPES:
                raise FormatError(
                    f"{module} has the type {kind}, for which there is no kernel; make a model "
                    "directory of the file first: tersor restore"
                )
        odd = sorted(set(modules) ^ types.keys())
        if odd:
            raise FormatError(f"tensors and types disagree about {odd[0]!r}")
        schemes = {module: TYPES[kind].scheme for module, kind in types.items()}
        return Description(schemes, frozenset(transposed))


def _stored(tensors: Mapping[str, Tensor], module: str) -> tuple[Blocks, Tensor]:
    """The type of a linear, and its rows of bytes. Raises :class:`FormatError`."""
    if len(tensors) != 1:
        raise FormatError(f"{module} has {len(tensors)} tensors of blocks, not one")
    ((suffix, rows),) = tensors.items()
    return TYPES[suffix], rows


def _matrix(values: "np.typing.NDArray[Any]", rows: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).reshape(rows, -1)
