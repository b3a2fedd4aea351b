"""Safetensors shards, written one by one as their tensors arrive, and read back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from tersor.checkpoints.files import replacing, write_failure, write_json
from tersor.checkpoints.huggingface.directory import INDEX, SINGLE
from tersor.checkpoints.huggingface.safetensors_file import read_header
from tersor.checkpoints.source import TensorInfo
from tersor.errors import OutputError, ReadBackError, SourceError

MAX_SHARD_BYTES = 512 * 2**20


class ShardWriter:
    """Context manager that writes the ``expected`` tensors into ``directory``.

    The layout is fixed up front: tensors fill shards in the order of ``expected``, so give them in
    the order in which they will be added (``block_order``), or buffers pile up. A shard is written
    once its last tensor arrives: to a temporary sibling, read back and compared bit for bit,
    flushed, renamed. Leaving the block without an exception closes the writer.

    Args:
        directory: an existing directory.
        expected: every tensor that will be added.
        max_shard_bytes: upper bound of a shard, unless one tensor alone is larger or tensors are
            revised to larger ones.
        metadata: text for the headers, besides ``format: pt``.

    Attributes:
        shards: file name → the tensors it holds, in order.
    """

    def __init__(
        self,
        directory: Path,
        expected: Sequence[TensorInfo],
        *,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if not expected:
            raise OutputError(f"{directory}: no tensors to write")
        self.shards = shard_layout(expected, max_shard_bytes)
        self._directory = directory
        self._metadata = {"format": "pt", **(metadata or {})}
        self._waiting = {info.name: info for info in expected}
        self._shard_of = {info.name: file for file, held in self.shards.items() for info in held}
        self._missing = {file: len(held) for file, held in self.shards.items()}
        self._buffers: dict[str, dict[str, Tensor]] = {file: {} for file in self.shards}

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors, and write each shard that is now complete.

        They are held, not copied, until their shard is written; do not change them.

        Raises:
            OutputError: a tensor that was not expected, came twice or looks different than
                expected; disk full, no permission.
            ReadBackError: what is on disk is not what was meant.
        """
        for name, tensor in tensors.items():
            self._check(name, tensor)
            del self._waiting[name]
            file = self._shard_of[name]
            self._buffers[file][name] = tensor.detach().cpu().contiguous()
            self._missing[file] -= 1
            if not self._missing[file]:
                self._write(file)

    def revise(self, info: TensorInfo) -> None:
        """Expect another type or shape of a tensor that has not come yet; its shard stays.

        Raises:
            OutputError: a tensor that was not expected, or came already.
        """
        self._check_waiting(info.name)
        file = self._shard_of[info.name]
        self._waiting[info.name] = info
        held = (info if old.name == info.name else old for old in self.shards[file])
        self.shards[file] = tuple(held)

    def close(self) -> None:
        """Check that every expected tensor came, and write the index if there are several shards.

        Raises:
            OutputError: a tensor is missing; disk full, no permission.
        """
        if self._waiting:
            name = next(iter(self._waiting))
            raise OutputError(
                f"{self._directory}: {len(self._waiting)} tensors were never written, "
                f"the first is {name!r}"
            )
        if len(self.shards) > 1:
            total = sum(info.nbytes for held in self.shards.values() for info in held)
            index = {"metadata": {"total_size": total}, "weight_map": self._shard_of}
            write_json(self._directory / INDEX, index)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        self._buffers.clear()

    def _check_waiting(self, name: str) -> None:
        where = f"{self._directory}: tensor {name!r}"
        if name not in self._shard_of:
            raise OutputError(f"{where} was not announced to the writer")
        if name not in self._waiting:
            raise OutputError(f"{where} was written twice")

    def _check(self, name: str, tensor: Tensor) -> None:
        self._check_waiting(name)
        where = f"{self._directory}: tensor {name!r}"
        info, given = self._waiting[name], TensorInfo(name, tensor.dtype, tuple(tensor.shape))
        if given != info:
            raise OutputError(
                f"{where} is {given.dtype} {given.shape}, announced as {info.dtype} {info.shape}"
            )

    def _write(self, file: str) -> None:
        from safetensors import SafetensorError

        tensors = _without_aliases(self._buffers.pop(file))
        path = self._directory / file
        with replacing(path) as partial:
            try:
                _save(partial, tensors, self._metadata)
            except SafetensorError as error:
                raise write_failure(path, error) from error
            try:
                _read_back(partial, tensors)
            except SourceError as error:
                raise ReadBackError(f"{path}: cannot be read back; check the disk") from error
            except ReadBackError as error:
                raise ReadBackError(f"{path}: {error}; check the disk") from error


def shard_layout(
    expected: Sequence[TensorInfo], max_shard_bytes: int = MAX_SHARD_BYTES
) -> dict[str, tuple[TensorInfo, ...]]:
    """File name → its tensors: ``expected`` in order, a new file when one would grow too large."""
    groups: list[list[TensorInfo]] = [[]]
    size = 0
    for info in expected:
        if groups[-1] and size + info.nbytes > max_shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(info)
        size += info.nbytes
    if len(groups) == 1:
        return {SINGLE: tuple(groups[0])}
    count = len(groups)
    return {
        f"model-{number:05d}-of-{count:05d}.safetensors": tuple(group)
        for number, group in enumerate(groups, start=1)
    }


def _without_aliases(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values with no two tensors sharing memory, which safetensors refuses to store."""
    apart = dict(tensors)
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_ptr()):
        if tensor.nbytes and tensor.data_ptr() < end:
            apart[name] = tensor.clone()
        end = max(end, tensor.data_ptr() + tensor.nbytes)
    return apart


def _save(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, str(path), metadata=dict(metadata))
    # save_file leaves a file that only its owner may read; restore what the umask says.
    path.chmod(mode)
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Bring the header's metadata into a fixed order, in place.

    safetensors writes it in the order of a randomly seeded hash map, so the same input would not
    give the same bytes. The reordered header has the same length.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise OutputError(f"{path}: the header's metadata cannot be put in order")
        file.seek(8)
        file.write(text.ljust(length))


def _read_back(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Reopen a written shard and compare it with what was meant, bit for bit (NaN included).

    Raises:
        ReadBackError: a missing, additional or different tensor.
        SourceError: an unreadable file.
    """
    stored = read_header(path)
    if stored.keys() != tensors.keys():
        raise ReadBackError("holds other tensors than were written")
    for name, tensor in tensors.items():
        written = stored[name].tensor()
        if written.dtype != tensor.dtype or written.shape != tensor.shape:
            raise ReadBackError(f"tensor {name!r} changed its type")
        if not torch.equal(_bits(written), _bits(tensor)):
            raise ReadBackError(f"tensor {name!r} changed on disk")


def _bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes, as wide integers where they divide: compared six times as fast."""
    flat = tensor.reshape(-1).view(torch.uint8)
    return flat if flat.numel() % 8 else flat.view(torch.int64)
