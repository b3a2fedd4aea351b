"""A GGUF file, written tensor by tensor, each where it belongs, and read back."""

import os
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tersor.checkpoints.files import write_all, write_failure, writing
from tersor.checkpoints.gguf.config import config_fields, family_of, refuse_gaps
from tersor.checkpoints.gguf.header import read_gguf_header
from tersor.checkpoints.gguf.parsing.tensor import GGUFTensor
from tersor.checkpoints.gguf.pieces import Piece, pieces_of
from tersor.checkpoints.gguf.writing.about import about
from tersor.checkpoints.gguf.writing.fields import hyperparameters, refuse_lost, writable_family
from tersor.checkpoints.gguf.writing.header import write_header
from tersor.checkpoints.gguf.writing.layout import aligned, laid_out, wanted
from tersor.checkpoints.gguf.writing.vocabulary import vocabulary
from tersor.checkpoints.source import Source, TensorInfo
from tersor.digest import tensor_digest
from tersor.errors import OutputError, ReadBackError
from tersor.families.gguf import Undo


class GGUFFileWriter:
    """Context manager that writes the ``expected`` tensors into the file ``path``.

    The header is written first and read again, so that whatever a file of this kind cannot say is
    refused before any tensor comes. Tensors may come in any order; none is held. A head that is
    tied to the embedding is left out. A file that is there already is that of a run that ended,
    with which this one goes on.

    ``config``: of the model. ``source``: where its tokenizer is.

    Raises :class:`~tersor.errors.SchemeError` for what GGUF cannot hold, naming the tensor or
    field, :class:`~tersor.errors.SourceError` for a tokenizer that cannot be read, and
    :class:`OutputError`.
    """

    def __init__(
        self, path: Path, expected: Sequence[TensorInfo], config: Mapping[str, Any], source: Source
    ) -> None:
        family, gguf = writable_family(str(config.get("model_type", "")))
        tied = bool(config.get("tie_word_embeddings", family.tied))
        heads = {f"{name}.weight" for name in family.blocks.head} if tied else set()
        self._path = path
        self._expected = {info.name: info for info in expected}
        self._wanted = {name: wanted(info) for name, info in self._expected.items()}
        self._left_out = {name for name, one in self._wanted.items() if one.weight in heads}
        held = [info for info in expected if info.name not in self._left_out]
        known = hyperparameters(config)
        tensors = laid_out(held, known.factors, family, gguf)
        embedding = tensors["token_embd.weight"]
        metadata = {
            **about(source, tensors.values()),
            **{f"{gguf.name}.{key}": value for key, value in known.metadata.items()},
            **vocabulary(source, embedding.shape[0]),
        }
        if not path.is_file():
            with writing(path):
                write_header(path, gguf.name, metadata, tensors.values())
                _reserve(path, tensors, known.factors)
        header = read_gguf_header(path)
        fields = config_fields(header, family_of(header)[1])
        refuse_gaps(header)
        refuse_lost(config, fields, family)
        self._pieces = pieces_of(header, gguf, fields)
        self._digests: dict[str, str] = {}
        self._told: set[str] = set()
        self._file = path.open("r+b", buffering=0)

    def adopt(self, digests: Mapping[str, str]) -> None:
        """Tensors that an earlier run wrote count as added.

        Raises :class:`OutputError` naming one that is not what that run wrote.
        """
        for name, digest in digests.items():
            if name not in self._left_out and self._on_disk(name) != digest:
                raise OutputError(
                    f"{self._path}: tensor {name!r} is not what the run that ended had written; "
                    "check the disk, and start anew with --force"
                )
            self._digests[name] = digest
            self._told.add(name)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors where they belong. Raises :class:`OutputError`."""
        for name, tensor in tensors.items():
            self._check(name, tensor)
            if name in self._left_out:
                self._digests[name] = ""
                continue
            values = _as_stored(tensor.detach(), self._piece(name))
            try:
                write_all(self._file.fileno(), values.data, self._piece(name).offset)
            except OSError as error:
                raise write_failure(self._path, error) from error
            self._digests[name] = tensor_digest([torch.from_numpy(values)])

    def added(self) -> dict[str, str]:
        """Digests of the tensors that were added since this was asked last, by name."""
        new = {name: d for name, d in self._digests.items() if name not in self._told}
        self._told |= new.keys()
        return new

    def sync(self) -> None:
        """Wait until what was added survives a power cut. Raises :class:`OutputError`."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def revise(self, info: TensorInfo) -> None:
        """Raises :class:`OutputError`: everything has its place already."""
        raise OutputError(f"{self._path}: tensor {info.name!r} cannot become another one any more")

    def close(self) -> None:
        """Check that every tensor came, and read each back.

        Raises :class:`OutputError` and :class:`ReadBackError`.
        """
        missing = self._expected.keys() - self._digests.keys()
        if missing:
            raise OutputError(f"{self._path}: tensor {min(missing)!r} was never written")
        with writing(self._path):
            self._file.close()
        for name in self._digests.keys() - self._left_out:
            self._read_back(name)

    def __enter__(self) -> "GGUFFileWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        self._file.close()

    def discard(self) -> None:
        """Close a file that no tensor will come to."""
        self._file.close()

    @property
    def value_bytes(self) -> int:
        """Of all tensors that the file holds."""
        held = (self._piece(name) for name in self._expected.keys() - self._left_out)
        return sum(prod(piece.shape[:-1]) * piece.row_bytes for piece in held)

    def _piece(self, name: str) -> Piece:
        return self._pieces[self._wanted[name].weight]

    def _check(self, name: str, tensor: Tensor) -> None:
        info = self._expected.get(name)
        given = TensorInfo(name, tensor.dtype, tuple(tensor.shape))
        if given != info or name in self._digests:
            raise OutputError(
                f"{self._path}: tensor {name!r} was not announced like this, or twice"
            )

    def _read_back(self, name: str) -> None:
        if self._on_disk(name) != self._digests[name]:
            raise ReadBackError(f"{self._path}: tensor {name!r} changed on disk; check the disk")

    def _on_disk(self, name: str) -> str:
        piece = self._piece(name)
        nbytes = prod(piece.shape[:-1]) * piece.row_bytes
        found = np.fromfile(self._path, np.uint8, nbytes, offset=piece.offset)
        return tensor_digest([torch.from_numpy(found)])


def _reserve(
    path: Path, tensors: Mapping[str, GGUFTensor], factors: Mapping[str, NDArray[Any]]
) -> None:
    """Room for all tensors behind the header, and the values of those that are no weights."""
    start = aligned(path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(start + max(tensor.offset + tensor.nbytes for tensor in tensors.values()))
        for name, values in factors.items():
            file.seek(start + tensors[name].offset)
            file.write(values.astype("<f4").tobytes())


def _as_stored(tensor: Tensor, piece: Piece) -> NDArray[np.uint8]:
    """Bytes of a tensor in the order in which the file has them."""
    if piece.undo is Undo.ONE_ADDED:
        tensor = tensor.float() + 1
    if piece.undo is Undo.TRANSPOSED and tensor.is_floating_point():
        tensor = tensor.T
    order = piece.row_order()
    if order is not None:
        tensor = tensor[torch.from_numpy(np.argsort(order))]
    values: NDArray[np.uint8] = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return values
