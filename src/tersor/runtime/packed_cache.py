"""Where packed weights are kept between runs.

One file for each artifact in ``$TERSOR_CACHE``, or else ``$XDG_CACHE_HOME/tersor`` or
``~/.cache/tersor``. It is used as long as the artifact's files are the same (names, sizes, times),
and replaced when they are not. ``TERSOR_CACHE=off`` keeps nothing.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from tersor.runtime.kernels import PackedLinear
from tersor.runtime.packed_file import VERSION, read_packed, write_packed

OFF = "off"


class PackedCache:
    """The packed linears of one artifact."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the artifact. Reads headers only."""
        self._path = _place(directory)
        self._held = {} if self._path is None else read_packed(self._path)
        self._grew = False

    def linear(self, name: str, make: Callable[[], PackedLinear]) -> PackedLinear:
        """The linear ``name``, mapped from the file or else made."""
        if name not in self._held:
            made = make()
            if self._path is None:
                return made
            self._held[name] = made
            self._grew = True
        return self._held[name]

    def save(self) -> None:
        """Write what was made. A warning says so if that cannot be done."""
        if self._path is None or not self._grew:
            return
        try:
            write_packed(self._path, self._held)
        except OSError as error:
            warnings.warn(
                f"packed weights are not kept: {error}; TERSOR_CACHE chooses another place, "
                f"TERSOR_CACHE={OFF} none",
                stacklevel=2,
            )
            return
        for other in self._path.parent.glob(f"{self._path.name.split('-')[0]}-*"):
            if other != self._path:
                other.unlink(missing_ok=True)


def _place(directory: Path) -> Path | None:
    chosen = os.environ.get("TERSOR_CACHE", "")
    if chosen == OFF:
        return None
    home = os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache"
    root = Path(chosen) if chosen else Path(home) / "tersor"
    directory = directory.resolve()
    files = sorted([*directory.glob("*.safetensors"), directory / "config.json"])
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return root / f"{_digest(str(directory))}-{_digest(json.dumps([VERSION, state]))}.packed"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
