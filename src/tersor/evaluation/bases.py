"""The original model's predictions, computed when asked or kept on disk."""

import mmap
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from tersor.errors import OutputError
from tersor.evaluation.forward import check_fit, evaluating, scored_positions, window_logits
from tersor.evaluation.measures import log_probabilities

# Left on the disk for everybody else.
_SPARE_BYTES = 256 * 1024**2


class Base(Protocol):
    """Predictions to compare with: those of ``windows (n, T)`` from position ``skip`` on."""

    @property
    def windows(self) -> Tensor:
        """int64 ``(n, T)``."""
        ...

    @property
    def skip(self) -> int:
        """Leading positions of a window that are context only."""
        ...

    def log_probabilities(self, index: int) -> Tensor:
        """fp32 ``(T − 1 − skip, vocab)`` of window ``index``."""
        ...


class LiveBase:
    """Runs the model each time it is asked: no disk, one more forward per window."""

    def __init__(self, model: nn.Module, windows: Tensor, *, skip: int = 0) -> None:
        """Raises :class:`TextError` for windows that the model cannot read."""
        scored_positions(windows, skip)
        check_fit(model, windows)
        self._model, self.windows, self.skip = model, windows, skip

    def log_probabilities(self, index: int) -> Tensor:
        """fp32 ``(T − 1 − skip, vocab)`` of window ``index``.

        Raises :class:`SourceError` when the model's logits are not finite.
        """
        with evaluating(self._model):
            return log_probabilities(window_logits(self._model, self.windows[index], self.skip))


class CachedBase:
    """Runs the model once and keeps its log-probabilities in a file, for many comparisons.

    The file takes ``4·n·(T − 1 − skip)·vocab`` bytes in ``directory``, has no name there, and goes
    with this object or with the process, however that ends. When the disk has not the space, a
    warning says so and every window is computed again when asked: then ``cached`` is false, and the
    model is kept.
    """

    def __init__(
        self,
        model: nn.Module,
        windows: Tensor,
        directory: Path,
        *,
        skip: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """``progress(done, total)`` counts windows.

        Raises :class:`TextError` for windows that the model cannot read, :class:`SourceError` when
        its logits are not finite, :class:`OutputError` when ``directory`` cannot be written.
        """
        self.windows, self.skip = windows, skip
        live = LiveBase(model, windows, skip=skip)
        rows = scored_positions(windows, skip)
        first = live.log_probabilities(0)
        self._shape = (rows, first.shape[-1])
        self._live: LiveBase | None = live
        self._cache = self._fill(live, first, directory, progress)
        if self._cache is not None:
            self._live = None

    @property
    def cached(self) -> bool:
        """Whether the predictions are on disk."""
        return self._cache is not None

    def log_probabilities(self, index: int) -> Tensor:
        """fp32 ``(T − 1 − skip, vocab)`` of window ``index``."""
        if self._live is not None:
            return self._live.log_probabilities(index)
        assert self._cache is not None
        rows, vocabulary = self._shape
        flat = torch.frombuffer(
            self._cache,
            dtype=torch.float32,
            count=rows * vocabulary,
            offset=index * rows * vocabulary * 4,
        )
        return flat.view(rows, vocabulary)

    def _fill(
        self,
        live: LiveBase,
        first: Tensor,
        directory: Path,
        progress: Callable[[int, int], None] | None,
    ) -> mmap.mmap | None:
        """All windows' predictions in a nameless file, mapped; ``None`` without the space."""
        count = len(self.windows)
        needed = count * first.nbytes
        try:
            free = shutil.disk_usage(directory).free
            if free < needed + _SPARE_BYTES:
                _warn_no_space(directory, needed, free)
                return None
            with tempfile.TemporaryFile(dir=directory) as file:
                # Written, not stored through the mapping: a disk that fills up meanwhile is then
                # an error and not a signal that kills the process.
                for index in range(count):
                    block = first if index == 0 else live.log_probabilities(index)
                    file.write(block.numpy().data)
                    if progress is not None:
                        progress(index + 1, count)
                file.flush()
                # A private mapping is writable, as torch wants its buffers, and never written.
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise OutputError(
                f"{directory}: cannot keep the base model's predictions there ({error.strerror})"
            ) from error


def _warn_no_space(directory: Path, needed: int, free: int) -> None:
    warnings.warn(
        f"{directory}: the base model's predictions need {needed / 1e9:.1f} GB and "
        f"{free / 1e9:.1f} GB are free; the base model runs again for each comparison",
        stacklevel=4,
    )
