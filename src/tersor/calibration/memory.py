"""Where activations of a calibration run live: in memory, and beyond a limit in a mapped file.

The file has no name, so it goes with its tensor or with the process, however that ends.
"""

import tempfile
import threading
import weakref
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tersor.errors import OutputError


class ActivationMemory:
    """Hands out tensors, and counts those that are in memory.

    ``limit``: bytes of memory in use at once, beyond which tensors are mapped from files in
    ``directory`` (the system's place for temporary files by default).
    """

    def __init__(self, limit: int, directory: Path | None = None) -> None:
        self._limit, self._directory = limit, directory
        self._used = 0
        # Threads share the count, and a tensor may die while its own thread is counting.
        self._counting = threading.RLock()
        self.spilled = 0
        """Bytes that were ever handed out from files."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor.

        Raises :class:`OutputError` when the disk cannot hold it.
        """
        size = prod(shape) * dtype.itemsize
        if self._take(size):
            tensor = torch.empty(shape, dtype=dtype)
            weakref.finalize(tensor, self._free, size)
            return tensor
        return self._mapped(shape, dtype, size)

    def spill(self, x: Tensor) -> Tensor | None:
        """A copy of ``x`` in a file if memory is short; else ``None``, and ``x`` counts as in use.

        Only a tensor that fills its storage is copied, since only that storage can be given back.
        """
        storage = x.untyped_storage()
        if not storage.resizable():
            return None  # mapped already
        whole = storage.nbytes() == x.nbytes
        if self._take(x.nbytes, forced=not whole):
            weakref.finalize(x, self._free, x.nbytes)
            return None
        return self._mapped(tuple(x.shape), x.dtype, x.nbytes).copy_(x)

    def _take(self, size: int, *, forced: bool = False) -> bool:
        """Count ``size`` as in use if it fits or is ``forced`` to; else as spilled."""
        with self._counting:
            fits = forced or not size or self._used + size <= self._limit
            if fits:
                self._used += size
            else:
                self.spilled += size
            return fits

    def _free(self, size: int) -> None:
        with self._counting:
            self._used -= size

    def _mapped(self, shape: tuple[int, ...], dtype: torch.dtype, size: int) -> Tensor:
        try:
            with tempfile.TemporaryFile(dir=self._directory) as file:
                # Really allocated: a full disk is then an error here, not a signal later.
                _allocate(file.fileno(), size)
                # By its number, since not even a process that is killed now may leave it.
                name = f"/dev/fd/{file.fileno()}"
                flat = torch.from_file(name, shared=True, size=prod(shape), dtype=dtype)
        except OSError as error:
            where = self._directory or tempfile.gettempdir()
            raise OutputError(
                f"{where}: cannot hold {size / 1e9:.1f} GB of activations ({error.strerror}); "
                "use fewer --tokens, or set TMPDIR to a larger disk"
            ) from error
        return flat.view(shape)


def _allocate(descriptor: int, size: int) -> None:
    import os

    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
