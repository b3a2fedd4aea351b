"""Faults of this process, at the n-th time that it asks the system to change something on disk."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

_CALLS = (
    "pwrite",
    "fsync",
    "replace",
    "rename",
    "ftruncate",
    "truncate",
    "unlink",
    "mkdir",
    "rmdir",
)


class Counter:
    """Counts calls that change something, and has something happen at one of them."""

    def __init__(
        self, at: int, happens: Callable[[str, Callable[[], Any], tuple[Any, ...]], Any]
    ) -> None:
        """``happens(name, call, arguments)`` takes the place of the call with the number ``at``."""
        self.count, self._at, self._happens = 0, at, happens
        self._lock = threading.Lock()
        for name in _CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                mine = self.count
            if mine == self._at:
                return self._happens(name, lambda *a: call(*(a or arguments), **options), arguments)
            return call(*arguments, **options)

        return counted


def die() -> None:
    """Be killed: nothing after this runs, no handler and no ``finally``."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed_before(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The call never happens; of a write the first half does."""
    if name == "pwrite":
        descriptor, values, offset = arguments
        call(descriptor, values[: len(values) // 2], offset)
    die()


def killed_behind(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The call happens, and nothing after it."""
    call()
    die()


def disk_full(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """No room from now on: what needs some fails, of a write a part is written."""
    if name == "pwrite":
        descriptor, values, offset = arguments
        call(descriptor, values[: len(values) // 2], offset)
    for needing in ("pwrite", "truncate", "ftruncate", "mkdir"):
        setattr(os, needing, _full)
    if name in ("unlink", "rmdir", "replace", "rename"):
        call()
    else:
        _full()


def read_only(name: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The file system lets nobody write any more, as after an error of the disk."""
    for writing in _CALLS:
        setattr(os, writing, _read_only)
    _read_only()


def _read_only(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
