"""How presets are listed: by kind, with what each kind is for and what each preset costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from tersor.documents import Document, validated

FOLDER = resources.files("tersor.recipes") / "presets"


class Cost(Document):
    """Of one preset, as measured on a model of 0.1B weights on two cores.

    ``time``: of quantizing, in words. ``kl``: mean KL divergence from the original in nats;
    ``None`` if it was not measured.
    """

    time: str
    kl: float | None = None


class Kind(Document):
    """A folder of presets: what they are for, and the presets, most used first."""

    use: str
    presets: Mapping[str, Cost]


@dataclass(frozen=True)
class Preset:
    """One line of the list: ``recipe`` is its name, ``use`` what its ``kind`` is for.

    ``description``: what it does. ``time`` and ``kl_mean``: as of :class:`Cost`.
    """

    recipe: str
    kind: str
    use: str
    description: str
    time: str
    kl_mean: float | None

    def to_dict(self) -> dict[str, Any]:
        """Every field as a plain JSON value."""
        return asdict(self)


class _Contents(Document):
    kinds: Mapping[str, Kind]


@cache
def preset_kinds() -> Mapping[str, Kind]:
    """Kinds by the name of their folder, in the order in which they are listed."""
    text = (FOLDER / "contents.yaml").read_text(encoding="utf-8")
    return validated(_Contents, {"kinds": yaml.safe_load(text)}, "").kinds


def known_presets() -> str:
    """All names in one line: ``integers: w4, …; floats: fp8, …``."""
    return "; ".join(f"{name}: {', '.join(kind.presets)}" for name, kind in preset_kinds().items())
