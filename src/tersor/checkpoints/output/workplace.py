"""Where a result grows that a later run can go on with.

A result ``NAME`` grows in ``.NAME.partial/artifact``. Beside it in ``.NAME.partial`` lies what a
later run needs: the journal (:mod:`~tersor.checkpoints.output.journal`) and files that it names.
All of that is removed only when the result has its name. The directory is locked as any
:class:`~tersor.checkpoints.output.staging.Staging`.
"""

import shutil
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import flush_to_disk
from tersor.checkpoints.output.journal import Journal
from tersor.checkpoints.output.staging import new_lock, remove_leftovers
from tersor.checkpoints.output.unfinished import (
    ARTIFACT,
    JOURNAL,
    finished,
    partial_of,
    refuse_unfinished,
)


class Workplace:
    """The hidden directory of one result, with what an earlier run left if it is gone on with.

    Stands in for ``Staging`` in an ``OutputDirectory``.

    Attributes:
        resume: whether an earlier run is gone on with, if there is one.
        root: the hidden directory.
        directory: inside of it, in which the result grows.
        kept: the entries of the journal, if the earlier run is gone on with; else none.
        keep: whether everything stays where it is if the result does not get its name.
    """

    def __init__(self, path: Path, *, resume: bool, force: bool) -> None:
        """``path``: the result, whose parent exists.

        What an earlier run left is kept with ``resume`` if it had finished anything, and removed if
        it had not, or with ``force``. Raises :class:`~tersor.errors.OutputBusy` if another process
        is writing the same result, :class:`~tersor.errors.OutputError` for an unfinished run
        without either and for a damaged journal, and :class:`OSError`.
        """
        self.resume = resume
        self.root = partial_of(path)
        self.directory = self.root / ARTIFACT
        self.journal = Journal(self.root / JOURNAL)
        self._lock = new_lock(self.root, path)
        try:
            if not resume and not force:
                refuse_unfinished(path)
            entries = self.journal.entries() if resume else []
            self.kept: list[dict[str, Any]] = entries if finished(entries) else []
            if not self.kept:
                remove_leftovers(self.root, self._lock)
                self.directory.mkdir()
                flush_to_disk(self.root)
        except BaseException:
            self._lock.release()
            raise
        self.keep = bool(self.kept)

    def sync(self) -> None:
        """Wait until the names of all files survive a power cut. Raises :class:`OSError`."""
        flush_to_disk(self.directory)
        flush_to_disk(self.root)

    def discard(self) -> None:
        """The result did not get its name."""
        if self.keep:
            self._lock.release()
        else:
            self.close()

    def renamed(self) -> None:
        """The result has its name; what is beside it stays until :meth:`close`."""

    def emptied(self) -> None:
        """The same, of a result that is a file."""

    def close(self) -> None:
        """Remove everything: the result has its name, and so has what belongs to it."""
        # First: whoever is killed from here on leaves nothing that could be gone on with.
        self.journal.path.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)
        self._lock.release()
