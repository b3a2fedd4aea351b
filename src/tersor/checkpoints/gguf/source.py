"""GGUF files as a source: dequantized, with Hugging Face names, shapes and row order.

Tensors are read as bfloat16 unless asked otherwise: that is what the weights were before they
became a GGUF file, in nearly every case.
"""

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.gguf.companions import companions_of
from tersor.checkpoints.gguf.config import config_fields, family_of, refuse_gaps
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.pieces import Piece, pieces_of
from tersor.checkpoints.gguf.transformers_bridge import full_config
from tersor.checkpoints.gguf.values import float_rows, refuse_unreadable_types
from tersor.checkpoints.source import TensorInfo, unknown_tensor
from tersor.families.gguf import Undo


class GGUFSource:
    """A ``Source`` over one GGUF file.

    Raises:
        SourceError: corrupt, truncated or split file, unsupported architecture or block type, a
            tensor that the family's table does not know, or one that is missing.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.bfloat16) -> None:
        header = read_gguf_header(path)
        model_type, family = family_of(header)
        refuse_unreadable_types(path, iter(header.tensors.values()))
        refuse_gaps(header)
        self.path = path
        self._dtype = dtype
        # Not the header itself: a vocabulary is tens of megabytes.
        self._companions = companions_of(header)
        fields = config_fields(header, family)
        self.config: Mapping[str, Any] = full_config(
            path, model_type, family.architecture, fields, dtype
        )
        self._pieces = pieces_of(header, family, fields)
        self.tensors = {
            name: TensorInfo(name, dtype, piece.final_shape) for name, piece in self._pieces.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors, dequantized in float32 and rounded once: see ``Source.read``."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """See :meth:`~tersor.checkpoints.gguf.companions.Companions.write`."""
        return self._companions.write(directory)

    def _read(self, name: str) -> Tensor:
        if name not in self._pieces:
            raise unknown_tensor(self.path, name)
        return _read_piece(self.path, self._pieces[name], self._dtype)


def _read_piece(path: Path, piece: Piece, dtype: torch.dtype) -> Tensor:
    rows, columns = prod(piece.shape[:-1]), piece.shape[-1]
    values = torch.empty(rows, columns, dtype=dtype)
    for start, part in float_rows(path, piece.tensor, piece.first_row, rows):
        # Before rounding: near 1 bfloat16 is far coarser than near the weight itself.
        exact = part - 1 if piece.undo is Undo.ONE_ADDED else part
        values[start : start + len(part)] = torch.from_numpy(exact)
    values = values.reshape(piece.shape)
    order = piece.row_order()
    if order is not None:
        return values[torch.from_numpy(order)]
    return values.T.contiguous() if piece.undo is Undo.TRANSPOSED else values
