"""What is kept between runs, as a value."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tersor.errors import OutputError, SourceError
from tersor.runtime.packed.store import Kept, remove, store
from tersor.version import own_version


@dataclass(frozen=True)
class CachedFile:
    """One file of packed weights.

    ``artifact``: what it was made of, ``None`` for a file of another version of tersor. ``gone``:
    the artifact is not there any more. ``last_used``: local time, to the minute.
    """

    artifact: Path | None
    gone: bool
    bytes: int
    last_used: datetime
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Every field as a plain JSON value."""
        return {
            "artifact": None if self.artifact is None else str(self.artifact),
            "gone": self.gone,
            "bytes": self.bytes,
            "last_used": self.last_used.isoformat(" ", "minutes")[:16],
            "path": str(self.path),
        }


@dataclass(frozen=True)
class CacheContents:
    """Files of packed weights in ``directory``, which may hold ``limit`` bytes.

    ``directory`` is ``None`` if ``TERSOR_CACHE=off`` has nothing kept.
    """

    directory: Path | None
    limit: int
    files: tuple[CachedFile, ...]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {
            "version": own_version(),
            "directory": None if self.directory is None else str(self.directory),
            "limit": self.limit,
            "bytes": self.bytes,
            "files": [file.to_dict() for file in self.files],
        }


def contents() -> CacheContents:
    """What is kept, used last first.

    Raises :class:`~tersor.errors.RecipeError` for a ``TERSOR_CACHE_LIMIT`` that is no size.
    """
    found = store()
    if found is None:
        return CacheContents(None, 0, ())
    return CacheContents(found.directory, found.limit(), tuple(map(_file, found.kept())))


def removed(artifact: Path | None = None) -> CacheContents:
    """Remove what is kept, or what is kept of ``artifact`` alone; what was removed.

    Raises :class:`SourceError` if nothing is kept of it, :class:`OutputError` for a file that
    cannot be removed.
    """
    found = store()
    kept = [] if found is None else found.kept()
    if artifact is not None:
        kept = [one for one in kept if one.artifact == artifact.resolve()]
        if not kept:
            raise SourceError(f"{artifact}: no packed weights of it are kept; see: tersor cache")
    files = tuple(map(_file, kept))
    remove(kept)
    left = [one for one in kept if one.path.exists()]
    if left:
        raise OutputError(f"{left[0].path}: cannot be removed; check its permissions")
    if found is None:
        return CacheContents(None, 0, ())
    return CacheContents(found.directory, found.limit(), files)


def _file(kept: Kept) -> CachedFile:
    used = datetime.fromtimestamp(kept.used).astimezone()
    return CachedFile(kept.artifact, kept.gone, kept.size, used, kept.path)
