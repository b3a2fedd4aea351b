"""A kind of file to damage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.entrances import Entrance


@dataclass(frozen=True)
class Seed:
    """What is sound: ``make`` writes it to a folder of its own, ``entrances`` read it there."""

    make: Callable[[Path], object]
    entrances: tuple[Entrance, ...]


@dataclass(frozen=True)
class Target:
    """``damage`` changes the files of a seed and says how. ``warm``: it is read once before."""

    seeds: Mapping[str, Seed]
    damage: Callable[[Path, Random], str]
    warm: bool = False
