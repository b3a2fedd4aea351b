"""What a run was made with, and whether it repeats the one that its recipe tells of."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tersor.calibration.text import TextRecord
from tersor.checkpoints.hub.naming import repository_of
from tersor.checkpoints.source import Source
from tersor.pipeline.writing.digests import combined_digest
from tersor.recipes import Made, Recipe, dump
from tersor.version import versions


@dataclass(frozen=True)
class Repetition:
    """Whether a result is, bit for bit, the one that the recipe was made with, and why not."""

    same: bool
    differences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, bool | list[str]]:
        """Plain JSON types."""
        return {"same": self.same, "differences": list(self.differences)}

    def line(self) -> str:
        """For people."""
        if self.same:
            return "the result that the recipe tells of, bit for bit"
        why = "; ".join(self.differences) or "nothing that is known of differs"
        return f"another result than the recipe tells of: {why}"


def made_now(
    source: Source,
    recipe: Recipe,
    texts: Sequence[TextRecord],
    read: Mapping[str, str],
    written: Mapping[str, str],
) -> Made:
    """What was made by ``recipe``; ``read`` and ``written``: digests by name."""
    return Made(
        recipe=_steps_digest(recipe),
        source_name=source_name(source.path),
        source=combined_digest(read),
        texts=tuple(use.text for use in texts[0].texts) if texts else (),
        windows=tuple(text.sha256 for text in texts),
        arithmetic=texts[0].arithmetic if texts else "",
        versions=tuple(f"{name} {version}" for name, version in versions().items()),
        result=combined_digest(written),
    )


def repetition(before: Made | None, now: Made) -> Repetition | None:
    """How ``now`` compares with what the recipe was made with; ``None`` if it was not."""
    if before is None:
        return None
    if before.result == now.result:
        return Repetition(same=True)
    return Repetition(same=False, differences=tuple(before.differences(now)))


def source_name(path: Path) -> str:
    """The last part of a path, whatever of it was typed: ``model`` for ``.`` inside of it.

    Of what was fetched from a hub its name there, ``org/model``.
    """
    return repository_of(path) or Path(os.path.abspath(path)).name  # noqa: PTH100 - a link has a name of its own


def _steps_digest(recipe: Recipe) -> str:
    """Of everything in a recipe that decides what is done."""
    steps = replace(recipe, name="steps", description="", made=None)
    return hashlib.blake2b(dump(steps).encode(), digest_size=16).hexdigest()
