"""A result directory that appears complete or not at all."""

import itertools
import os
import shutil
import warnings
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tersor.byte_sizes import human_bytes
from tersor.checkpoints.files import (
    DISK_FULL,
    flush_to_disk,
    read_json,
    write_failure,
    writing,
)
from tersor.checkpoints.output.staging import (
    Lock,
    Staging,
    refuse_unfinished_or_busy,
    remove,
    size_of,
)
from tersor.checkpoints.output.unfinished import is_published, partial_of
from tersor.checkpoints.output.workplace import Workplace
from tersor.errors import OutputError, SourceError

_REPLACED = ".replaced"
_ANOTHER = "choose another output directory"


class Kind(Protocol):
    """What is published. ``file``: the one file of the staging directory that is; ``None`` if all
    of it is."""

    @property
    def file(self) -> str | None:
        """See above."""

    def recognizes(self, path: Path) -> bool:
        """Whether what exists at ``path`` is of this kind, and may be replaced by another one."""


class ModelDirectory:
    """A directory with the ``config.json`` of a model."""

    file = None

    def recognizes(self, path: Path) -> bool:
        """Whether ``path`` looks like something transformers or tersor wrote."""
        try:
            config = read_json(path / "config.json")
        except SourceError:
            return False
        return bool({"model_type", "architectures"} & config.keys())


MODEL_DIRECTORY = ModelDirectory()


class OutputDirectory:
    """Context manager: stage a directory beside ``path`` and rename it there on success.

    ``with OutputDirectory(path, needed_bytes=…) as staging:`` gives the staging directory, a hidden
    sibling whose name ends in ``.partial``. On any exception, keyboard interrupts included, it is
    removed and what existed before is untouched. What a run left that was killed is removed by the
    next one on the same output, with a warning.

    Args:
        path: where the result shall be; missing parents are made.
        needed_bytes: size of the result; compared with the free space before anything is written.
        source: what is being read: neither it, nor a directory it lies in or links into, may be
            replaced.
        force: replace an existing model directory: the old one is renamed aside, the new one
            renamed in, then the old one deleted.
        kind: what is published; of a single file, the file alone.
        resume: whether an earlier run is gone on with; not ``None`` of a run that keeps a journal:
            then there is a :attr:`workplace`, which is to be closed after the block.

    Attributes:
        published: whether the earlier run had come to the end, and was killed behind it.

    Raises:
        OutputError: ``path`` exists and may not be replaced, an unfinished run is there and neither
            gone on with nor replaced, another process is writing it, the disk is too small or full,
            or there is no permission to write.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        needed_bytes: int = 0,
        source: Path | None = None,
        force: bool = False,
        kind: Kind = MODEL_DIRECTORY,
        resume: bool | None = None,
    ) -> None:
        self._given = Path(path)
        # The target of a symbolic link is replaced, not the link.
        self.path = self._given.resolve()
        self._needed = needed_bytes
        self._source = source
        self._force = force
        self._kind = kind
        self._resume = resume
        self._staging: Staging | Workplace | None = None
        self._workplace: Workplace | None = None
        self.published = False
        self._made_parents: list[Path] = []

    def check(self) -> None:
        """Raise what entering would raise about what exists and about the disk; makes nothing."""
        with writing(self._given):
            if self._staging is None and not self._resume and not self._force:
                refuse_unfinished_or_busy(self.path)
            self.published = bool(self._resume) and is_published(self.path, self._kind.file)
            if not self.published:
                self._refuse_replacing()
                if not self._resume or not partial_of(self.path).exists():
                    self._refuse_small_disk()

    @property
    def workplace(self) -> Workplace:
        """Where a run that keeps a journal works; while the block lasts, and behind it."""
        assert self._workplace is not None
        return self._workplace

    def __enter__(self) -> Path:
        if not self.path.name:
            raise OutputError(f"{self._given}: the root of a file system; {_ANOTHER}")
        try:
            with writing(self._given):
                self._make_parents()
                self._staging = self._staged()
                self._undo_killed_swap()
                self.check()
        except BaseException:
            self._clean_up()
            raise
        return self._staging.directory

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and not self.published:
                with writing(self._given):
                    self._publish()
            elif error is None:
                self._staging = None
            elif isinstance(error, OSError) and self._is_mine(error):
                raise write_failure(self._given, error) from error
        finally:
            self._clean_up()

    def _staged(self) -> Staging | Workplace:
        if self._resume is None:
            return Staging(self.path, force=self._force)
        self._workplace = Workplace(self.path, resume=self._resume, force=self._force)
        return self._workplace

    def _refuse_replacing(self) -> None:
        if not self.path.exists():
            return
        if self.path.is_dir() == (self._kind.file is not None):
            what = "directory" if self.path.is_dir() else "file"
            raise OutputError(f"{self._given}: exists and is a {what}; {_ANOTHER}")
        if not self._force:
            said = " and is complete" if self._resume and self._kind.recognizes(self.path) else ""
            raise OutputError(f"{self._given}: exists already{said}; {_ANOTHER} or pass --force")
        if self._source is not None:
            self._refuse_losing(self._source)
        empty = self.path.is_dir() and not any(self.path.iterdir())
        if not empty and not self._kind.recognizes(self.path):
            what = "a model directory (no config.json of a model inside)"
            raise OutputError(
                f"{self._given}: not {what if self._kind.file is None else 'a file of this format'}"
                f", so it is not replaced even with --force; {_ANOTHER}"
            )

    def _refuse_losing(self, source: Path) -> None:
        inside = list(source.iterdir()) if source.is_dir() else []
        for read in (source, *inside):
            if read.resolve().is_relative_to(self.path):
                raise OutputError(
                    f"{self._given}: holds the source {read}, so it is not replaced; {_ANOTHER}"
                )

    def _refuse_small_disk(self) -> None:
        existing = next(parent for parent in self.path.parents if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < self._needed:
            raise OutputError(
                f"{self._given}: needs {human_bytes(self._needed)}, {human_bytes(free)} free on "
                f"{existing}; free some space or {_ANOTHER}"
            )

    def _make_parents(self) -> None:
        missing = list(itertools.takewhile(lambda p: not p.exists(), self.path.parents))
        for parent in reversed(missing):
            parent.mkdir()
            self._made_parents.insert(0, parent)

    def _publish(self) -> None:
        assert self._staging is not None
        staging = self._staging.directory
        if self._kind.file is not None:
            self._publish_file(staging / self._kind.file)
            return
        for directory, _, files in os.walk(staging):
            for file in files:
                flush_to_disk(Path(directory, file))
            flush_to_disk(Path(directory))
        old = self._set_aside() if self.path.exists() else None
        try:
            staging.rename(self.path)
        except BaseException:
            if old is not None and not self.path.exists():
                self._aside.rename(self.path)
                old.release()
            raise
        self._staging.renamed()
        self._staging = None
        self._made_parents = []
        flush_to_disk(self.path.parent)
        if old is not None:
            self._delete_old(old)

    def _publish_file(self, staged: Path) -> None:
        """One renaming, which replaces an old file; what else was staged is removed later."""
        flush_to_disk(staged)
        staged.replace(self.path)
        self._made_parents = []
        assert self._staging is not None
        self._staging.emptied()
        self._staging = None
        flush_to_disk(self.path.parent)

    @property
    def _aside(self) -> Path:
        """Where the old output is while the new one takes its place."""
        return self.path.with_name(f".{self.path.name}{_REPLACED}")

    def _set_aside(self) -> Lock:
        """Rename the old output; locked, because the lock on the new one goes with its name."""
        lock = Lock(self.path, self._given)
        self.path.rename(self._aside)
        return lock

    def _delete_old(self, lock: Lock) -> None:
        try:
            shutil.rmtree(self._aside)
        except OSError as error:
            raise OutputError(
                f"{self._given}: complete, but the one it replaces could not be deleted; "
                f"delete {self._aside}"
            ) from error
        finally:
            lock.release()

    def _undo_killed_swap(self) -> None:
        """Two renames replace an output: a run may have been killed between or behind them."""
        if not self._aside.exists():
            return
        lock = Lock(self._aside, self._given)
        try:
            if self.path.exists():
                size = human_bytes(size_of(self._aside))
                remove(self._aside)
                said = f"{self._aside}: {size} left by a killed run; removed"
            else:
                self._aside.rename(self.path)
                said = f"{self._given}: put back, as it was before a run that was killed"
        finally:
            lock.release()
        warnings.warn(said, stacklevel=3)

    def _is_mine(self, error: OSError) -> bool:
        """Whether an error of the body came from writing into the staging directory."""
        named = error.filename2 or error.filename
        if named is None:
            # Writing to an open file names none; a full disk is nearly always the output's.
            return error.errno in DISK_FULL
        staging = self._staging.directory if self._staging is not None else self.path
        return isinstance(named, str | os.PathLike) and Path(named).is_relative_to(staging)

    def _clean_up(self) -> None:
        if self._staging is not None:
            self._staging.discard()
            self._staging = None
        for parent in self._made_parents:
            if not any(parent.iterdir()):
                parent.rmdir()
        self._made_parents = []
