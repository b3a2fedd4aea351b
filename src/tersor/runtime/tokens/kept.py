"""Tokenizers as transformers made them, kept between runs beside packed weights."""

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tersor.checkpoints.gateway.snapshot import Snapshot
from tersor.errors import OutputError
from tersor.runtime.packed.container import NONSENSE, Origin, read_container, write_container
from tersor.runtime.packed.key import directory_key, layout_key
from tersor.runtime.packed.store import Store, store
from tersor.runtime.tokens.tokenizer import TextTokenizer

_MAKERS = ("transformers", "tokenizers")
_BACKEND = "backend"


def open_tokenizer(directory: Path) -> Any:
    """The tokenizer of a model directory, for :class:`~tersor.runtime.engine.engine.Engine`.

    A :class:`TextTokenizer` where the tokenizers package does all the work, so that transformers is
    imported only if a file of the directory is another one than the last time; else transformers'
    own tokenizer.

    Raises :class:`~tersor.errors.SourceError` for what is no model, by its name, and for a
    tokenizer that cannot be loaded.
    """
    kept = _kept_of(directory)
    found = None if kept is None else kept.read()
    if found is not None:
        return found
    from tersor.checkpoints.gateway.snapshot import snapshot
    from tersor.runtime.companions import model_tokenizer

    made = model_tokenizer(directory)
    taken = snapshot(made)
    if taken is None:
        return made
    if kept is not None:
        kept.write(taken)
    return TextTokenizer(taken, str(directory))


@dataclass(frozen=True)
class _Kept:
    """The file for a tokenizer in one state."""

    directory: Path
    store: Store
    key: str

    @property
    def _path(self) -> Path:
        return self.store.place(self.directory.resolve(), self.key, "tokenizer")

    def read(self) -> TextTokenizer | None:
        """The tokenizer if it is there."""
        try:
            facts, arrays = read_container(self._path, self.key)
            backend = arrays[_BACKEND].tobytes().decode()
            specials = {str(name): str(token) for name, token in facts["specials"].items()}
            taken = Snapshot(backend, bool(facts["splits"]), specials, facts["chat_template"])
        except NONSENSE:
            return None
        try:
            tokenizer = TextTokenizer(taken, str(self.directory))
        except Exception:  # the tokenizers package raises nothing narrower
            return None
        with suppress(OSError):
            os.utime(self._path)  # when it was used last
        return tokenizer

    def write(self, taken: Snapshot) -> None:
        """Keep it, unless files have changed meanwhile; who keeps weights says if that fails."""
        now = _kept_of(self.directory)
        if now is None or now.key != self.key:
            return
        facts = {
            "specials": dict(taken.specials),
            "splits": taken.splits_special,
            "chat_template": taken.chat_template,
        }
        backend = np.frombuffer(taken.backend.encode(), np.uint8)
        origin = Origin(str(self.directory.resolve()), self.key)
        with suppress(OSError, OutputError, TypeError):
            if self.store.make_room(self._path, backend.nbytes):
                write_container(self._path, facts, {_BACKEND: backend}, origin)


def _kept_of(directory: Path) -> _Kept | None:
    """Where the tokenizer is kept as the files are now; None if nothing is."""
    found = store()
    if found is None:
        return None
    try:
        state = directory_key(directory)
    except OSError:
        return None  # who opens it says why
    return _Kept(directory, found, "-".join([state, layout_key(), *map(_version, _MAKERS)]))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
