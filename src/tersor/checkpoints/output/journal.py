"""What a run has finished, line by line, as it survives the end of the process or of the power."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import writing
from tersor.checkpoints.output.unfinished import entries_of, whole_lines


class Journal:
    """A file of JSON objects, one a line, to which lines are added and never changed.

    A last line without its end is what a killed run was writing: it counts as never written, and
    is cut off before the next one is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """All lines that were written whole; none if there is no file.

        Raises :class:`~tersor.errors.OutputError` for a file whose lines are none of a journal.
        """
        with writing(self.path):
            return entries_of(self.path)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add a line and wait until it survives a power cut.

        Raises :class:`~tersor.errors.OutputError`; then nothing was added.
        """
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        with writing(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                end = len(whole_lines(self.path))
                os.ftruncate(descriptor, end)
                done = 0
                while done < len(line):
                    done += os.pwrite(descriptor, line[done:], end + done)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
