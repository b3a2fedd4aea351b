"""How presets are listed: by kind, with what each kind is for and what each preset costs."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

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
