"""GGUF files as a source: dequantized, with Hugging Face names, shapes and row order.

Tensors are read as bfloat16 unless asked otherwise: that is what the weights were before they
became a GGUF file, in nearly every case.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersor.checkpoints.files import write_json, writing
from tersor.checkpoints.gguf.config import (
    config_fields,
    family_of,
    generation_fields,
    refuse_gaps,
)
from tersor.checkpoints.gguf.header import GGUFHeader, GGUFTensor, read_gguf_header
from tersor.checkpoints.gguf.transformers_bridge import full_config, save_tokenizer
from tersor.checkpoints.gguf.values import float_rows, refuse_unreadable_types
from tersor.checkpoints.source import TensorInfo, block_order, unknown_tensor
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
        self._generation = generation_fields(header)
        self._tokenizer = _tokenizer_settings(header)
        fields = config_fields(header, family)
        self.config: Mapping[str, Any] = full_config(
            path, model_type, family.architecture, fields, dtype
        )
        pieces: dict[str, Piece] = {}
        for name, piece in _pieces(header, family, fields):
            if name in pieces:
                raise SourceError(f"{path}: holds {name!r} twice, as {piece.tensor.name!r} too")
            pieces[name] = piece
        self._pieces = {name: pieces[name] for name in block_order(pieces)}
        self.tensors = {
            name: TensorInfo(name, dtype, _final_shape(piece))
            for name, piece in self._pieces.items()
        }

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named tensors, dequantized in float32 and rounded once: see ``Source.read``."""
        return {name: self._read(name) for name in names}

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        """Rebuild the tokenizer (chat template included) and ``generation_config.json``.

        A file without a vocabulary gives only the latter.
        """
        write_json(directory / "generation_config.json", self._generation)
        made = ["generation_config.json"]
        if self._tokenizer is not None:
            with writing(directory):
                made += save_tokenizer(self.path, directory, **self._tokenizer)
        return tuple(sorted(made))

    def _read(self, name: str) -> Tensor:
        if name not in self._pieces:
            raise unknown_tensor(self.path, name)
        return _read_piece(self.path, self._pieces[name], self._dtype)


def _tokenizer_settings(header: GGUFHeader) -> dict[str, Any] | None:
    """The arguments of ``save_tokenizer``, if the file has a vocabulary."""
    if "tokenizer.ggml.tokens" not in header.metadata:
        return None
    return {
        "byte_level": header.metadata.get("tokenizer.ggml.model") == "gpt2",
        "split": str(header.metadata.get("tokenizer.ggml.pre", "default")),
        "length": header.number("context_length"),
    }


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
        pattern, numbers = _pattern(tensor.name)
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


def _pattern(name: str) -> tuple[str, dict[str, int]]:
    """``blk.3.ffn_up.7.weight`` → ``blk.{n}.ffn_up.{e}.weight`` and its numbers."""
    numbers: dict[str, int] = {}
    parts = name.split(".")
    for position, part in enumerate(parts):
        key = "n" if "n" not in numbers else "e"
        if part.isdecimal() and key not in numbers:
            numbers[key] = int(part)
            parts[position] = f"{{{key}}}"
    return ".".join(parts), numbers


def _final_shape(piece: Piece) -> tuple[int, ...]:
    return piece.shape[::-1] if piece.undo is Undo.TRANSPOSED else piece.shape


def _read_piece(path: Path, piece: Piece, dtype: torch.dtype) -> Tensor:
    rows, columns = prod(piece.shape[:-1]), piece.shape[-1]
    values = torch.empty(rows, columns, dtype=dtype)
    for start, part in float_rows(path, piece.tensor, piece.first_row, rows):
        # Before rounding: near 1 bfloat16 is far coarser than near the weight itself.
        exact = part - 1 if piece.undo is Undo.ONE_ADDED else part
        values[start : start + len(part)] = torch.from_numpy(exact)
    values = values.reshape(piece.shape)
    if piece.undo in (Undo.QUERY_ROWS, Undo.KEY_ROWS):
        return _halves_from_pairs(values, piece.heads)
    return values.T.contiguous() if piece.undo is Undo.TRANSPOSED else values


def _halves_from_pairs(values: Tensor, heads: int) -> Tensor:
    """Row order of llama.cpp (pairs) → transformers (halves), within each head.

    ``values`` is a weight ``(heads · head_dim, in)`` or a bias ``(heads · head_dim,)``. In pairs,
    row 2i + j of a head is row j · head_dim / 2 + i in halves.
    """
    paired = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return paired.transpose(1, 2).reshape(values.shape)
