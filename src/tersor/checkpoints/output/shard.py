"""One safetensors file that grows in place: a header first, then every tensor where it belongs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tersor.checkpoints.files import write_all, writing
from tersor.checkpoints.huggingface.safetensors_file import StoredTensor, kind_of, read_header
from tersor.checkpoints.output.layout import Layout
from tersor.checkpoints.source import TensorInfo
from tersor.digest import tensor_digest
from tersor.errors import ReadBackError, SourceError

_GROWING = ".growing"
_PIECE = 1 << 24


class Shard:
    """The file ``path``, which grows under another name until :meth:`finish`.

    A tensor that turns out larger than planned is written behind all others; such a file is copied
    once, in the end, into the order that it would have had. What a killed run left of the file is
    gone on with: its bytes are where this one would put them.
    """

    def __init__(
        self, path: Path, infos: Sequence[TensorInfo], metadata: Mapping[str, str]
    ) -> None:
        self.path = path
        self._growing = path.with_name(path.name + _GROWING)
        self._planned = {info.name: info for info in infos}
        self.infos = dict(self._planned)
        """As they are now, by name."""
        self._metadata = metadata
        self._layout = Layout(infos, metadata)
        self._revised: dict[str, int] = {}
        self._end = self._layout.size
        self._descriptor: int | None = None
        self._synced = True

    def revise(self, info: TensorInfo) -> None:
        """Expect another type or shape of a tensor that was not written yet."""
        if info == self.infos[info.name]:
            return
        self.infos[info.name] = info
        self._revised[info.name] = -(-self._end // 8) * 8
        self._end = self._revised[info.name] + info.nbytes

    def write(self, name: str, tensor: Tensor) -> None:
        """Put a tensor where it belongs. Raises :class:`OutputError`."""
        with writing(self.path):
            write_all(self._open(), _bytes_of(tensor), self._offset(name))
            self._synced = False

    def sync(self) -> None:
        """Wait until what was written survives a power cut. Raises :class:`OutputError`."""
        if not self._synced and self._descriptor is not None:
            self._synced = True
            with writing(self.path):
                os.fsync(self._descriptor)

    def digest(self, name: str) -> str:
        """Of a tensor as it is on disk now; empty if it is not there.

        Raises :class:`SourceError` for a file whose header is damaged.
        """
        if self.path.is_file():
            stored = read_header(self.path).get(name)
        else:
            info = self.infos[name]
            kind, at = kind_of(info.dtype), self._offset(name)
            stored = StoredTensor(name, kind, info.shape, self._growing, at)
        try:
            return "" if stored is None else tensor_digest([stored.tensor()])
        except SourceError:
            return ""

    def finish(self, digests: Mapping[str, str]) -> None:
        """Compare every tensor on disk with its digest and give the file its name.

        Raises :class:`ReadBackError` naming the tensor that is another one, and
        :class:`OutputError`.
        """
        if not self.path.is_file():  # else a killed run had come so far
            with writing(self.path):
                self._open()
                whole = self._in_order() if self._revised else self._growing
                self.sync()
                self._read_back(whole, digests)
                whole.replace(self.path)
        self._growing.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let the file go, whatever has become of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._growing, os.O_RDWR | os.O_CREAT, 0o666)
            if os.fstat(self._descriptor).st_size < self._layout.size:
                os.truncate(self._descriptor, self._layout.size)
            # Each time: a run may have been killed between both.
            write_all(self._descriptor, memoryview(self._layout.header), 0)
            self._synced = False
        return self._descriptor

    def _offset(self, name: str) -> int:
        return self._revised.get(name, self._layout.offsets[name])

    def _in_order(self) -> Path:
        """A copy of the file: behind what its header says no tensor may lie."""
        layout = Layout([self.infos[name] for name in self._planned], self._metadata)
        copy = self.path.with_name(self.path.name + ".ordered")
        with copy.open("wb") as file:
            file.truncate(layout.size)
            write_all(file.fileno(), memoryview(layout.header), 0)
            for name, start in layout.offsets.items():
                self._copy(name, file.fileno(), start)
            os.fsync(file.fileno())
        return copy

    def _copy(self, name: str, to: int, start: int) -> None:
        length, offset, done = self.infos[name].nbytes, self._offset(name), 0
        while done < length:
            piece = os.pread(self._open(), min(_PIECE, length - done), offset + done)
            if not piece:
                raise ReadBackError(f"{self.path}: became shorter; check the disk")
            write_all(to, memoryview(piece), start + done)
            done += len(piece)

    def _read_back(self, file: Path, digests: Mapping[str, str]) -> None:
        try:
            stored = read_header(file)
        except SourceError as error:
            raise ReadBackError(f"{self.path}: cannot be read back; check the disk") from error
        for name, info in self.infos.items():
            where = f"{self.path}: tensor {name!r}"
            if name not in stored or stored[name].info != info:
                raise ReadBackError(f"{where} changed its type; check the disk")
            if tensor_digest([stored[name].tensor()]) != digests[name]:
                raise ReadBackError(f"{where} changed on disk; check the disk")


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
