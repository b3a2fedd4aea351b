"""Packed weights of an artifact, kept between runs in a file that is mapped the next time."""

import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tersor.byte_sizes import human_bytes
from tersor.errors import OutputBusy, OutputError, SourceError
from tersor.runtime.linears.panels import PackedLinear
from tersor.runtime.packed.container import Origin
from tersor.runtime.packed.key import contents_key, layout_key
from tersor.runtime.packed.linears import Packed, packed_bytes, read_packed, write_packed
from tersor.runtime.packed.store import OFF, store


class PackedCache:
    """The packed linears of one artifact, as its files are when this is made.

    ``quantized``: the artifact's quantized modules, if these very files have passed every check
    before; None if they are still to be checked.
    """

    def __init__(self, directory: Path) -> None:
        """``directory``: the artifact, to be opened after this. Reads headers only."""
        # Unlike Path.resolve, this leaves links that go in circles to whoever opens them.
        self._directory = Path(os.path.realpath(directory))
        self._store = store()
        self._held: dict[str, PackedLinear] = {}
        self.quantized: tuple[str, ...] | None = None
        self._grew = False
        self._contents = None if self._store is None else self._contents_now()
        if self._store is None or self._contents is None:
            return
        self._key = f"{self._contents}-{layout_key()}"
        path = self._store.place(self._directory, self._key)
        found = read_packed(path, self._key)
        self._held, self.quantized = dict(found.linears), found.quantized
        if self.quantized is not None:
            with suppress(OSError):
                os.utime(path)  # when it was used last

    def passed(self, quantized: Iterable[str]) -> None:
        """Remember that the artifact has passed every check, and its ``quantized`` modules.

        Whoever opens the same files another time need not look at them again.
        """
        if self.quantized is None and self._contents is not None:
            self.quantized = tuple(quantized)
            self._grew = True

    def held(self, name: str) -> PackedLinear | None:
        """The linear ``name`` if it needs not be made."""
        return self._held.get(name)

    def linear(self, name: str, make: Callable[[], PackedLinear]) -> PackedLinear:
        """The linear ``name``, mapped from the file or else made."""
        if name in self._held:
            return self._held[name]
        made = make()
        if self._contents is not None:
            self._held[name] = made
            self._grew = True
        return made

    def changed(self) -> bool:
        """Whether a file of the artifact is another one than when this was made."""
        return self._contents_now() != self._contents

    def save(self) -> None:
        """Write what was made or found out, unless the artifact's files have changed meanwhile.

        A warning says so if it cannot be done, or is more than may be kept.
        """
        if self._store is None or not self._grew or self.changed():
            return
        packed = Packed(self._held, self.quantized)
        path, size = self._store.place(self._directory, self._key), packed_bytes(packed)
        try:
            if not self._store.make_room(path, size):
                _not_kept(
                    f"{human_bytes(size)} are more than the {human_bytes(self._store.limit())} of "
                    "the cache; TERSOR_CACHE_LIMIT sets another limit"
                )
                return
            origin = Origin(str(self._directory), self._key)
            write_packed(path, packed, origin)
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
