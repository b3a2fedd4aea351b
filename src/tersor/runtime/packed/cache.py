"""Packed weights of an artifact, kept between runs in a file that is mapped the next time."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tersor.byte_sizes import human_bytes
from tersor.errors import OutputBusy, OutputError, SourceError
from tersor.runtime.linears.kernels import PackedLinear
from tersor.runtime.packed.key import contents_key, layout_key
from tersor.runtime.packed.mapped_file import Origin, packed_bytes, read_packed, write_packed
from tersor.runtime.packed.store import OFF, store


class PackedCache:
    """The packed linears of one artifact, as its files are when this is made."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the artifact, to be opened after this. Reads headers only."""
        self._directory = directory.resolve()
        self._store = store()
        self._held: dict[str, PackedLinear] = {}
        self._grew = False
        self._contents = None if self._store is None else self._contents_now()
        if self._store is None or self._contents is None:
            return
        self._key = f"{self._contents}-{layout_key()}"
        path = self._store.place(self._directory, self._key)
        self._held = read_packed(path, self._key)
        if self._held:
            with suppress(OSError):
                os.utime(path)  # when it was used last

    def linear(self, name: str, make: Callable[[], PackedLinear]) -> PackedLinear:
        """The linear ``name``, mapped from the file or else made."""
        if name in self._held:
            return self._held[name]
        made = make()
        if self._contents is not None:
            self._held[name] = made
            self._grew = True
        return made

    def save(self) -> None:
        """Write what was made, unless the artifact's files have changed meanwhile.

        A warning says so if it cannot be done, or is more than may be kept.
        """
        if self._store is None or not self._grew or self._contents_now() != self._contents:
            return
        path, size = self._store.place(self._directory, self._key), packed_bytes(self._held)
        try:
            if not self._store.make_room(path, size):
                _not_kept(
                    f"{human_bytes(size)} are more than the {human_bytes(self._store.limit())} of "
                    "the cache; TERSOR_CACHE_LIMIT sets another limit"
                )
                return
            write_packed(path, self._held, Origin(str(self._directory), self._key))
        except OutputBusy:
            return  # another process packs the same
        except (OSError, OutputError) as error:
            _not_kept(f"{error}; TERSOR_CACHE chooses another place")

    def _contents_now(self) -> str | None:
        try:
            return contents_key(self._directory)
        except (OSError, SourceError):
            return None  # who opens it says why


def _not_kept(why: str) -> None:
    warnings.warn(f"packed weights are not kept: {why}, TERSOR_CACHE={OFF} none", stacklevel=3)
