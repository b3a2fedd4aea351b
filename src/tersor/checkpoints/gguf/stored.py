"""GGUF files as a source of what they hold: quantized matrices stay the blocks that are stored.

Names, shapes and the order of rows are those of Hugging Face. Neither torch nor transformers is
needed to open a file, or for values as arrays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.checkpoints.gguf.companions import companions_of
from tersor.checkpoints.gguf.config import config_fields, family_of, refuse_gaps
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.pieces import Piece, pieces_of
from tersor.checkpoints.huggingface.safetensors_file import Infos, StoredTensor
from tersor.checkpoints.source import TensorInfo, unknown_tensor
from tersor.errors import SourceError
from tersor.families.gguf import Undo

if TYPE_CHECKING:
    from torch import Tensor

METHOD = "gguf"
"""``quant_method`` of the config that a file with quantized matrices gets."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_BLOCKS = "U8"


class StoredGGUF:
    """A ``Source`` over one GGUF file, as it is stored.

    A matrix ``module`` that is quantized as ``Q4_0`` is the tensor ``module.Q4_0``, uint8 ``(rows,
    bytes of a row)``; all others have the float type of the file. ``config`` says of the former
    under ``quantization_config``: ``types`` by module, and which modules are ``transposed`` in
    transformers, whose rows here are columns there.

    Raises:
        SourceError: corrupt, truncated or split file, unsupported architecture, a tensor that the
            family's table does not know, or one that is missing.
    """

    def __init__(self, path: Path) -> None:
        header = read_gguf_header(path)
        model_type, family = family_of(header)
        refuse_gaps(header)
        fields = config_fields(header, family)
        self.path = path
        self._companions = companions_of(header)
        self._held: dict[str, _Held] = {}
        types: dict[str, str] = {}
        transposed: list[str] = []
        for name, piece in pieces_of(header, family, fields).items():
            kind = BLOCK_TYPES[piece.tensor.ggml_type].name
            if kind in _FLOATS:
                self._held[name] = _floats(path, name, piece, kind)
                continue
            module = _module(path, name, piece, kind)
            self._held[f"{module}.{kind}"] = _blocks(path, f"{module}.{kind}", piece)
            types[module] = kind
            if piece.undo is Undo.TRANSPOSED:
                transposed.append(module)
        self.tensors: Mapping[str, TensorInfo] = Infos(self._held)
        self.config: Mapping[str, Any] = {
            "model_type": model_type,
            "architectures": [family.architecture],
            **fields,
            **self._companions.generation,
        }
        if types:
            quantized = {"quant_method": METHOD, "types": types, "transposed": transposed}
            self.config = {**self.config, "quantization_config": quantized}

    def floats(self, name: str) -> NDArray[Any] | None:
        """See :class:`~tersor.checkpoints.source.FloatSource`."""
        held = self._find(name)
        return None if held.stored.kind == _BLOCKS else held.floats()

    def read(self, names: Iterable[str]) -> "dict[str, Tensor]":
        """The named tensors: see ``Source.read``."""
        return {name: self._find(name).tensor() for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See :meth:`~tersor.checkpoints.gguf.companions.Companions.write`."""
        return self._companions.write(directory)

    def _find(self, name: str) -> "_Held":
        if name not in self._held:
            raise unknown_tensor(self.path, name)
        return self._held[name]


@dataclass(frozen=True, eq=False)
class _Held:
    """Values as they lie in the file, and what becomes of them."""

    stored: StoredTensor
    order: NDArray[np.int64] | None
    undo: Undo

    @property
    def info(self) -> TensorInfo:
        """Name, torch's type, and the shape that it has at last."""
        found = self.stored.info
        shape = found.shape[::-1] if self.undo is Undo.TRANSPOSED else found.shape
        return TensorInfo(found.name, found.dtype, shape)

    def floats(self) -> NDArray[Any] | None:
        values = self.stored.floats()
        return None if values is None else self._undone(values)

    def tensor(self) -> "Tensor":
        """Values, or blocks, for torch."""
        import torch

        values = self._undone(self.stored.array())
        return torch.from_numpy(values).view(self.stored.info.dtype)

    def _undone(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.order is not None:
            values = values[self.order]
        if self.undo is Undo.ONE_ADDED:
            values = values - values.dtype.type(1)
        return np.ascontiguousarray(values.T) if self.undo is Undo.TRANSPOSED else values


def _floats(path: Path, name: str, piece: Piece, kind: str) -> _Held:
    if piece.undo is Undo.ONE_ADDED and kind not in ("F32", "F64"):
        raise SourceError(
            f"{path}: tensor {piece.tensor.name!r} is 1 more than the weights, as {kind}, which "
            "does not hold them exactly without; convert the model again"
        )
    stored = StoredTensor(name, kind, piece.shape, path, piece.offset)
    return _Held(stored, piece.row_order(), piece.undo)


def _module(path: Path, name: str, piece: Piece, kind: str) -> str:
    """The module of a quantized matrix. Raises :class:`SourceError` for what is no such."""
    module, _, last = name.rpartition(".")
    if last != "weight" or len(piece.shape) != 2:
        raise SourceError(
            f"{path}: tensor {piece.tensor.name!r} of type {kind} is no matrix of weights; make a "
            f"model directory of it first: tersor restore {path} -o DIR"
        )
    return module


def _blocks(path: Path, name: str, piece: Piece) -> _Held:
    stored = StoredTensor(name, _BLOCKS, (piece.shape[0], piece.row_bytes), path, piece.offset)
    return _Held(stored, piece.row_order(), Undo.NOTHING)
