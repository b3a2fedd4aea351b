"""Where a result grows before it has its name, and what is left of it when the process is killed.

A result ``NAME`` grows in the hidden directory ``.NAME.partial`` beside it. Whoever writes there
holds a lock (flock) on that directory, which the kernel releases when the process ends in whatever
way: a directory without a lock is what a killed run left, and one with a lock is never touched.
Process ids would not do, since they are used again.
"""

import errno
import fcntl
import os
import shutil
import time
import warnings
from pathlib import Path

from tersor.byte_sizes import human_bytes
from tersor.checkpoints.output.unfinished import partial_of, refuse_unfinished
from tersor.errors import OutputBusy, OutputError

_ATTEMPTS, _PAUSE = 3, 0.02
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF})


class Staging:
    """The hidden directory of one result: empty at first, and nobody else's.

    A directory also where the result is a single file: libraries that write it may keep hidden
    files of their own beside it meanwhile.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        """``path``: the result, whose parent exists.

        What a killed run left is removed, and a warning says so. Raises :class:`OutputBusy` if
        another process is writing the same result, :class:`OutputError` if what is there may be
        gone on with, unless ``force``, and :class:`OSError`.
        """
        self.directory = partial_of(path)
        self._lock = new_lock(self.directory, path)
        try:
            if not force:
                refuse_unfinished(path)
            remove_leftovers(self.directory, self._lock)
        except BaseException:
            self._lock.release()
            raise

    def discard(self) -> None:
        """Remove the directory and what is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.release()

    def renamed(self) -> None:
        """The directory has another name: what now has its old one would be another process's."""
        self._lock.release()

    def emptied(self) -> None:
        """The file that is the result has another place; the rest is removed."""
        self.discard()


class Lock:
    """A lock on a directory; goes with the process. ``held``: not on file systems without locks."""

    def __init__(self, directory: Path, result: Path) -> None:
        """Raises :class:`OutputBusy`, which names ``result``, if another one holds it."""
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.held = True
        try:
            _flock(self._descriptor)
        except OSError as error:
            self.held = False
            if error.errno in _NO_LOCKS:
                return
            self.release()
            if not isinstance(error, BlockingIOError):
                raise
            raise OutputBusy(
                f"{result}: another run is writing it (in {directory}); wait until it has ended, "
                "or choose another output"
            ) from None

    def is_on(self, directory: Path) -> bool:
        """Whether ``directory`` is still what was locked: who had it before may have renamed it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), directory.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def is_locked(directory: Path) -> bool:
    """Whether a process writes in ``directory``; not known where there are no locks."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


def _flock(descriptor: int) -> None:
    """Lock, even if somebody looks in this moment whether it is locked (:func:`is_locked`)."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def new_lock(directory: Path, result: Path) -> Lock:
    """A lock on ``directory``, which is made if need be. Raises as :class:`Lock`."""
    while True:
        if directory.is_symlink() or directory.is_file():
            directory.unlink()
        directory.mkdir(exist_ok=True)
        try:
            lock = Lock(directory, result)
        except FileNotFoundError:
            continue
        if lock.is_on(directory):
            return lock
        lock.release()


def refuse_unfinished_or_busy(path: Path) -> None:
    """What making a :class:`Staging` for the result ``path`` would raise; makes nothing."""
    directory = partial_of(path)
    if directory.is_dir() and not directory.is_symlink():
        Lock(directory, path).release()
    refuse_unfinished(path)


def remove_leftovers(directory: Path, lock: Lock) -> None:
    """Empty a directory that is locked; a warning says so if anything was there.

    Raises :class:`OutputError` if nobody can know that no other run writes there.
    """
    left = list(directory.iterdir())
    if not left:
        return
    said = f"{directory}: {human_bytes(size_of(directory))} left by a killed run"
    if not lock.held:
        raise OutputError(
            f"{said}, or what another run is writing (this file system has no locks); delete "
            "it if no run goes on there"
        )
    for path in left:
        remove(path)
    warnings.warn(f"{said}; removed", stacklevel=3)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a directory; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(inside) for inside in path.iterdir())


def remove(path: Path) -> None:
    """Delete a file, a link, or a directory with what is in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)
