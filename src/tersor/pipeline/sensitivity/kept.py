"""What was measured before, by content: the model's weights, the recipe, the text and the protocol.

In the directory of packed weights (``TERSOR_CACHE``); every figure is written when it is known, so
that a run goes on where one was killed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor.checkpoints.files import read_json, write_json
from tersor.checkpoints.source import Source
from tersor.digest import tensor_digest
from tersor.errors import SourceError
from tersor.runtime.packed.store import store
from tersor.version import code_digest, versions

Key = tuple[str, str]
"""What was quantized, and the label of its scheme."""


class Kept:
    """Figures of one model under one protocol, in a file; ``TERSOR_CACHE=off`` keeps none."""

    def __init__(self, source: Source, protocol: Mapping[str, Any]) -> None:
        """``protocol``: everything else that figures depend on; plain JSON types."""
        place = store()
        self._file: Path | None = None
        self._figures: dict[str, dict[str, float]] = {}
        if place is None:
            return
        weights = {
            name: tensor_digest(source.read([name]).values()) for name in sorted(source.tensors)
        }
        made_by = [dict(source.config), versions(), code_digest()]
        text = json.dumps([weights, protocol, made_by], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._file = place.directory / "sensitivity" / f"{digest}.json"
        if self._file.is_file():
            self._figures = _readable(self._file)

    def figures(self, kind: str) -> dict[Key, float]:
        """What is known of a ``kind`` (``estimate``, ``exact``)."""
        found = self._figures.get(kind, {})
        return {(name.rpartition(" ")[0], name.rpartition(" ")[2]): v for name, v in found.items()}

    def add(self, kind: str, figures: Mapping[Key, float]) -> None:
        """Keep more of them. Raises :class:`~tersor.errors.OutputError` if that cannot be."""
        known = self._figures.setdefault(kind, {})
        known.update({f"{name} {label}": value for (name, label), value in figures.items()})
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, self._figures)


def _readable(file: Path) -> dict[str, dict[str, float]]:
    """What a file holds; nothing if it is none of ours, which the next figure replaces."""
    try:
        found = read_json(file)
    except SourceError:
        return {}
    return {
        kind: {str(k): float(v) for k, v in figures.items() if isinstance(v, int | float)}
        for kind, figures in found.items()
        if isinstance(figures, Mapping)
    }
