"""Where activations of a calibration run live: in memory, and beyond a limit in a mapped file.

The file has no name, so it goes with its tensor or with the process, however that ends.
"""

import tempfile
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
        self.spilled = 0
        """Bytes that were ever handed out from files."""

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor.

        Raises :class:`OutputError` when the disk cannot hold it.
        """
        size = prod(shape) * dtype.itemsize
        if self._used + size <= self._limit or not size:
            self._used += size
            tensor = torch.empty(shape, dtype=dtype)
            weakref.finalize(tensor, self._free, size)
            return tensor
        self.spilled += size
        return self._mapped(shape, dtype, size)

    def spill(self, x: Tensor) -> Tensor | None:
        """A copy of ``x`` in a file if memory is short; else ``None``, and ``x`` counts as in use.

        Only a tensor that fills its storage is copied, since only that storage can be given back.
        """
        if self._used + x.nbytes <= self._limit or x.untyped_storage().nbytes() != x.nbytes:
            self._used += x.nbytes
            weakref.finalize(x, self._free, x.nbytes)
            return None
        self.spilled += x.nbytes
        return self._mapped(tuple(x.shape), x.dtype, x.nbytes).copy_(x)

    def _free(self, size: int) -> None:
        self._used -= size

    def _mapped(self, shape: tuple[int, ...], dtype: torch.dtype, size: int) -> Tensor:
        try:
            with tempfile.NamedTemporaryFile(
                prefix="tersor-activations-", dir=self._directory
            ) as file:
                # Really allocated: a full disk is then an error here, not a signal later.
                _allocate(file.fileno(), size)
                elements = prod(shape)
                flat = torch.from_file(file.name, shared=True, size=elements, dtype=dtype)
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
