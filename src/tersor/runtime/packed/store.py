"""The directory that packed weights are kept in, and how much it may hold.

``$TERSOR_CACHE``, or else ``$XDG_CACHE_HOME/tersor`` or ``~/.cache/tersor``; ``TERSOR_CACHE=off``
keeps nothing. ``TERSOR_CACHE_LIMIT`` bounds it (``20GB``, ``500 MB``, or bytes).
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tersor.byte_sizes import parsed_bytes
from tersor.checkpoints.output.staging import Staging
from tersor.checkpoints.output.unfinished import PARTIAL
from tersor.errors import OutputBusy, RecipeError
from tersor.runtime.packed.container import is_container, read_origin

OFF = "off"
DEFAULT_LIMIT = 20_000_000_000

_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.packed")


@dataclass(frozen=True)
class Kept:
    """One file: of which ``artifact`` (``None``: another version's file), ``used`` last when.

    ``used``: seconds since 1970.
    """

    path: Path
    artifact: Path | None
    size: int
    used: float

    @property
    def gone(self) -> bool:
        """Whether the artifact has been deleted, or is not where it was."""
        if self.artifact is None or self.artifact.is_file():
            return False
        return not (self.artifact / "config.json").exists()


class Store:
    """All files of packed weights in a directory. What a process has mapped may be removed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def place(self, artifact: Path, key: str, part: str = "") -> Path:
        """The file for an artifact in one state, or for a ``part`` that has a state of its own."""
        owner = f"{artifact}/{part}" if part else str(artifact)
        return self.directory / f"{_digest(owner)}-{_digest(key)}.packed"

    def kept(self) -> list[Kept]:
        """Every file, used last first. Other files in the directory are nobody's business."""
        return sorted(self._files(), key=lambda kept: -kept.used)

    def limit(self) -> int:
        """Bytes that may be held: 20 GB, but half of what is free without it at most.

        Raises :class:`RecipeError` for a ``TERSOR_CACHE_LIMIT`` that is no size.
        """
        given = os.environ.get("TERSOR_CACHE_LIMIT", "")
        if not given:
            existing = next(p for p in (self.directory, *self.directory.parents) if p.exists())
            held = sum(kept.size for kept in self._files())
            return min(DEFAULT_LIMIT, (shutil.disk_usage(existing).free + held) // 2)
        limit = parsed_bytes(given)
        if limit is None:
            raise RecipeError(f"TERSOR_CACHE_LIMIT={given}: no size; give one such as 20GB")
        return limit

    def make_room(self, path: Path, size: int) -> bool:
        """Remove files until ``path`` may take ``size`` bytes; false if it may not in any case.

        First those of the same artifact in another state, then those whose artifact is gone, both
        whether or not there is room; then what was used longest ago.
        """
        owner = path.name.partition("-")[0]
        others = [kept for kept in self.kept() if kept.path != path]
        useless = [k for k in others if k.gone or k.path.name.startswith(f"{owner}-")]
        remove(useless)
        self._remove_leftovers()
        limit = self.limit()
        others = [kept for kept in others if kept not in useless]
        while others and sum(kept.size for kept in others) + size > limit:
            remove([others.pop()])
        return size <= limit

    def _files(self) -> Iterator[Kept]:
        try:
            found = list(self.directory.iterdir())
        except OSError:
            return
        for path in found:
            if not _NAME.fullmatch(path.name) or not is_container(path):
                continue
            with suppress(OSError):
                status = path.stat()
                origin = read_origin(path)
                artifact = None if origin is None else Path(origin.artifact)
                yield Kept(path, artifact, status.st_size, status.st_mtime)

    def _remove_leftovers(self) -> None:
        """What was being written by processes that were killed."""
        for path in self.directory.glob(f".*{PARTIAL}"):
            name = path.name.removeprefix(".").removesuffix(PARTIAL)
            if _NAME.fullmatch(name):
                with suppress(OSError, OutputBusy):
                    Staging(self.directory / name).discard()


def store() -> Store | None:
    """The store that the environment names; ``None``: nothing is kept."""
    chosen = os.environ.get("TERSOR_CACHE", "")
    if chosen == OFF:
        return None
    home = os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache"
    return Store(Path(chosen) if chosen else Path(home) / "tersor")


def remove(files: Iterable[Kept]) -> None:
    """Delete files. Who has one mapped keeps what it holds."""
    for kept in files:
        with suppress(OSError):
            kept.path.unlink()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
