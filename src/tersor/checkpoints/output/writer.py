"""Safetensors shards that grow in place as their tensors arrive, and are read back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from torch import Tensor

from tersor.checkpoints.files import write_json
from tersor.checkpoints.huggingface.directory import INDEX, SINGLE
from tersor.checkpoints.output.layout import Layout
from tersor.checkpoints.output.shard import Shard
from tersor.checkpoints.source import TensorInfo
from tersor.digest import tensor_digest
from tersor.errors import OutputError

MAX_SHARD_BYTES = 512 * 2**20
_METADATA = {"format": "pt"}


class ShardWriter:
    """Context manager that writes the ``expected`` tensors into ``directory``.

    The layout is fixed up front: tensors fill shards in the order of ``expected``. Every tensor is
    written where it belongs when it arrives, and none is held. Leaving the block without an
    exception reads each back, compares it bit for bit, flushes the shards and gives them their
    names; with one, what was written stays, for a run that goes on (:meth:`adopt`).

    Args:
        directory: an existing directory.
        expected: every tensor that will be added.
        max_shard_bytes: upper bound of a shard, unless one tensor alone is larger or tensors are
            revised to larger ones.
        metadata: text for the headers, besides ``format: pt``.

    Attributes:
        shards: file name → the tensors that it was planned to hold, in order.
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
        text = {**_METADATA, **(metadata or {})}
        self._files = {
            file: Shard(directory / file, held, text) for file, held in self.shards.items()
        }
        self._file_of = {info.name: file for file, held in self.shards.items() for info in held}
        self._digests: dict[str, str] = {}
        self._told: set[str] = set()

    def adopt(self, digests: Mapping[str, str]) -> None:
        """Tensors that an earlier run wrote count as added.

        What it revised must have been revised again before, in the same order. Raises
        :class:`OutputError` naming a tensor that is not what the earlier run wrote.
        """
        for name, digest in digests.items():
            self._check_waiting(name)
            if self._shard(name).digest(name) != digest:
                raise OutputError(
                    f"{self._directory}: tensor {name!r} is not what the run that ended had "
                    "written; check the disk, and start anew with --force"
                )
            self._digests[name] = digest
            self._told.add(name)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors where they belong.

        Raises:
            OutputError: a tensor that was not expected, came twice or looks different than
                expected; disk full, no permission.
        """
        for name, tensor in tensors.items():
            self._check(name, tensor)
            values = tensor.detach().cpu()
            self._shard(name).write(name, values)
            self._digests[name] = tensor_digest([values])

    def added(self) -> dict[str, str]:
        """Digests of the tensors that were added since this was asked last, by name."""
        new = {name: d for name, d in self._digests.items() if name not in self._told}
        self._told |= new.keys()
        return new

    def sync(self) -> None:
        """Wait until what was added survives a power cut. Raises :class:`OutputError`."""
        for shard in self._files.values():
            shard.sync()

    def revise(self, info: TensorInfo) -> None:
        """Expect another type or shape of a tensor that has not come yet; its shard stays.

        Raises:
            OutputError: a tensor that was not expected, or came already.
        """
        self._check_waiting(info.name)
        self._shard(info.name).revise(info)

    def close(self) -> None:
        """Check that every tensor came and is on disk, and write the index of several shards.

        Raises:
            OutputError: a tensor is missing; disk full, no permission.
            ReadBackError: what is on disk is not what was meant.
        """
        missing = [name for name in self._file_of if name not in self._digests]
        if missing:
            raise OutputError(
                f"{self._directory}: {len(missing)} tensors were never written, "
                f"the first is {missing[0]!r}"
            )
        for shard in self._files.values():
            shard.finish(self._digests)
        if len(self.shards) > 1:
            infos = (info for shard in self._files.values() for info in shard.infos.values())
            total = sum(info.nbytes for info in infos)
            index = {"metadata": {"total_size": total}, "weight_map": self._file_of}
            write_json(self._directory / INDEX, index)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.close()
        finally:
            for shard in self._files.values():
                shard.close()

    def _shard(self, name: str) -> Shard:
        return self._files[self._file_of[name]]

    def _check_waiting(self, name: str) -> None:
        where = f"{self._directory}: tensor {name!r}"
        if name not in self._file_of:
            raise OutputError(f"{where} was not announced to the writer")
        if name in self._digests:
            raise OutputError(f"{where} was written twice")

    def _check(self, name: str, tensor: Tensor) -> None:
        self._check_waiting(name)
        where = f"{self._directory}: tensor {name!r}"
        info = self._shard(name).infos[name]
        given = TensorInfo(name, tensor.dtype, tuple(tensor.shape))
        if given != info:
            raise OutputError(
                f"{where} is {given.dtype} {given.shape}, announced as {info.dtype} {info.shape}"
            )


def header_bytes(expected: Sequence[TensorInfo]) -> int:
    """What the shards of these tensors take besides their values."""
    layouts = (Layout(held, _METADATA) for held in shard_layout(expected).values())
    return sum(len(layout.header) for layout in layouts)


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
