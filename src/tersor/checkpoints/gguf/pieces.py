"""Which rows of which GGUF tensor make a tensor under its Hugging Face name, and in which order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoints.gguf.block_types import BLOCK_TYPES
from tersor.checkpoints.gguf.header import GGUFHeader
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.source import block_order
from tersor.errors import SourceError
from tersor.families.gguf import DERIVED, Gguf, Undo


@dataclass(frozen=True)
class Piece:
    """The rows of one GGUF tensor that make one Hugging Face tensor.

    ``shape`` is the shape in the GGUF file, before ``undo``; ``heads`` counts the heads whose rows
    are interleaved, if they are.
    """

    tensor: GGUFTensor
    first_row: int
    shape: tuple[int, ...]
    undo: Undo
    heads: int = 0

    @property
    def final_shape(self) -> tuple[int, ...]:
        """The shape under its Hugging Face name."""
        return self.shape[::-1] if self.undo is Undo.TRANSPOSED else self.shape

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        known = BLOCK_TYPES[self.tensor.ggml_type]
        return self.shape[-1] // known.values * known.nbytes

    @property
    def offset(self) -> int:
        """Where its rows begin in the file."""
        return self.tensor.offset + self.first_row * self.row_bytes

    def row_order(self) -> NDArray[np.int64] | None:
        """The row here of every row there, ``None`` if that is the same.

        llama.cpp has the two rows of a head that turn together beside each other, transformers in
        the head's two halves: row 2i + j of a head here is row j · head_dim / 2 + i there.
        """
        if self.undo not in (Undo.QUERY_ROWS, Undo.KEY_ROWS):
            return None
        rows = np.arange(self.shape[0]).reshape(self.heads, -1, 2)
        return rows.transpose(0, 2, 1).reshape(-1)


def pieces_of(header: GGUFHeader, family: Gguf, fields: Mapping[str, Any]) -> dict[str, Piece]:
    """Hugging Face name → where its values lie, in block order. ``fields``: of the config.

    Raises :class:`SourceError` for a tensor that the family does not know, that has other rows than
    its heads, or that two tensors of the file would be.
    """
    found: dict[str, Piece] = {}
    for name, piece in _pieces(header, family, fields):
        if name in found:
            raise SourceError(f"{header.path}: holds {name!r} twice, as {piece.tensor.name!r} too")
        found[name] = piece
    return {name: found[name] for name in block_order(found)}


def _pieces(
    header: GGUFHeader, family: Gguf, fields: Mapping[str, Any]
) -> Iterator[tuple[str, Piece]]:
    """Hugging Face name → where its values lie."""
    rules = {rule.gguf: rule for rule in family.rules}
    heads = {
        Undo.QUERY_ROWS: fields.get("num_attention_heads", 0),
        Undo.KEY_ROWS: fields.get("num_key_value_heads", 0),
    }
    head_dim = fields.get("head_dim", 0)
    for tensor in header.tensors.values():
        pattern, numbers = pattern_of(tensor.name)
        if pattern in DERIVED:
            continue
        rule = rules.get(pattern)
        if rule is None:
            raise SourceError(
                f"{header.path}: tensor {tensor.name!r} is unknown for the architecture "
                f"{header.architecture!r}; start from the Hugging Face directory"
            )
        undo, count = rule.undo, heads.get(rule.undo, 0)
        if undo in heads and (tensor.shape[0] != count * head_dim or head_dim % 2):
            raise SourceError(
                f"{header.path}: tensor {tensor.name!r} has {tensor.shape[0]} rows, "
                f"not {count} heads of {head_dim}"
            )
        if "{e}" in rule.hf and "e" not in numbers:
            yield from _experts(header, tensor, rule.hf, numbers, fields)
        else:
            yield rule.hf.format(**numbers), Piece(tensor, 0, tensor.shape, undo, count)


def _experts(
    header: GGUFHeader,
    tensor: GGUFTensor,
    template: str,
    numbers: Mapping[str, int],
    fields: Mapping[str, Any],
) -> Iterator[tuple[str, Piece]]:
    """One piece for each expert of a stacked tensor ``(experts, out, in)``."""
    count = fields.get("num_experts", fields.get("num_local_experts"))
    if len(tensor.shape) != 3 or tensor.shape[0] != count:
        raise SourceError(f"{header.path}: {tensor.name!r} is not a stack of {count} experts")
    _, rows, columns = tensor.shape
    for expert in range(tensor.shape[0]):
        name = template.format(e=expert, **numbers)
        yield name, Piece(tensor, expert * rows, (rows, columns), Undo.NOTHING)


def pattern_of(name: str) -> tuple[str, dict[str, int]]:
    """``blk.3.ffn_up.7.weight`` → ``blk.{n}.ffn_up.{e}.weight`` and its numbers."""
    numbers: dict[str, int] = {}
    parts = name.split(".")
    for position, part in enumerate(parts):
        key = "n" if "n" not in numbers else "e"
        if part.isdecimal() and key not in numbers:
            numbers[key] = int(part)
            parts[position] = f"{{{key}}}"
    return ".".join(parts), numbers
