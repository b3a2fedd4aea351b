"""A result directory that appears complete or not at all."""

import itertools
import os
import shutil
from pathlib import Path
from types import TracebackType

from tersor.checkpoints.files import (
    DISK_FULL,
    PARTIAL,
    flush_to_disk,
    human_bytes,
    read_json,
    write_failure,
    writing,
)
from tersor.errors import OutputError, SourceError

_ANOTHER = "choose another output directory"


class OutputDirectory:
    """Context manager: stage a directory beside ``path`` and rename it there on success.

    ``with OutputDirectory(path, needed_bytes=…) as staging:`` gives the staging directory, a hidden
    sibling whose name ends in ``.partial``. On any exception, keyboard interrupts included, it is
    removed and what existed before is untouched.

    Args:
        path: where the result shall be; missing parents are made.
        needed_bytes: size of the result; compared with the free space before anything is written.
        source: what is being read: neither it, nor a directory it lies in or links into, may be
            replaced.
        force: replace an existing model directory: the old one is renamed aside, the new one
            renamed in, then the old one deleted.

    Raises:
        OutputError: ``path`` exists and may not be replaced, the disk is too small or full, or
            there is no permission to write.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        needed_bytes: int = 0,
        source: Path | None = None,
        force: bool = False,
    ) -> None:
        self._given = Path(path)
        # The target of a symbolic link is replaced, not the link.
        self.path = self._given.resolve()
        self._needed = needed_bytes
        self._source = source
        self._force = force
        self._staging: Path | None = None
        self._made_parents: list[Path] = []

    def __enter__(self) -> Path:
        try:
            with writing(self._given):
                self._refuse_replacing()
                self._refuse_small_disk()
                self._make_parents()
                self._staging = _new_sibling(self.path)
        except BaseException:
            self._clean_up()
            raise
        return self._staging

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with writing(self._given):
                    self._publish()
            elif isinstance(error, OSError) and self._is_mine(error):
                raise write_failure(self._given, error) from error
        finally:
            self._clean_up()

    def _refuse_replacing(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise OutputError(f"{self._given}: exists and is a file; {_ANOTHER}")
        if not self._force:
            raise OutputError(f"{self._given}: exists already; {_ANOTHER} or pass --force")
        if self._source is not None:
            self._refuse_losing(self._source)
        if any(self.path.iterdir()) and not _is_model_directory(self.path):
            raise OutputError(
                f"{self._given}: not a model directory (no config.json of a model inside), "
                f"so it is not replaced even with --force; {_ANOTHER}"
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
        staging = self._staging
        assert staging is not None
        for directory, _, files in os.walk(staging):
            for file in files:
                flush_to_disk(Path(directory, file))
            flush_to_disk(Path(directory))
        if self.path.exists():
            self._swap(staging)
        else:
            staging.rename(self.path)
        self._staging = None
        self._made_parents = []
        flush_to_disk(self.path.parent)

    def _swap(self, staging: Path) -> None:
        aside = _new_sibling(self.path)
        try:
            # Onto the empty directory just made: such a rename is atomic and hits nothing else.
            self.path.rename(aside)
            staging.rename(self.path)
        except BaseException:
            if not self.path.exists():
                aside.rename(self.path)
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self._staging = None
        try:
            shutil.rmtree(aside)
        except OSError as error:
            raise OutputError(
                f"{self._given}: complete, but the one it replaces could not be deleted; "
                f"delete {aside}"
            ) from error

    def _is_mine(self, error: OSError) -> bool:
        """Whether an error of the body came from writing into the staging directory."""
        named = error.filename2 or error.filename
        if named is None:
            # Writing to an open file names none; a full disk is nearly always the output's.
            return error.errno in DISK_FULL
        staging = self._staging or self.path
        return isinstance(named, str | os.PathLike) and Path(named).is_relative_to(staging)

    def _clean_up(self) -> None:
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        for parent in self._made_parents:
            if not any(parent.iterdir()):
                parent.rmdir()
        self._made_parents = []


def _new_sibling(path: Path) -> Path:
    """A new hidden directory beside ``path``; the process id keeps two runs apart."""
    for count in itertools.count():
        sibling = path.with_name(f".{path.name}.{os.getpid()}-{count}{PARTIAL}")
        try:
            sibling.mkdir()
        except FileExistsError:
            continue
        return sibling
    raise AssertionError("itertools.count ends")


def _is_model_directory(path: Path) -> bool:
    """Whether ``path`` looks like something transformers or tersor wrote."""
    try:
        config = read_json(path / "config.json")
    except SourceError:
        return False
    return bool({"model_type", "architectures"} & config.keys())
