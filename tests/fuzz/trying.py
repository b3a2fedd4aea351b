"""One input: made, given to what reads it, judged."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

from fuzz.damage import emptied
from fuzz.entrances import Entrance
from fuzz.judging import Outcome, judged
from fuzz.targets import TARGETS


def sow(folder: Path, names: tuple[str, ...]) -> None:
    """Write what is sound of the named targets, in a folder for each."""
    for name in names:
        for kind, seed in TARGETS[name].seeds.items():
            place = folder / name / kind
            place.mkdir(parents=True)
            seed.make(place)


def tried(name: str, number: int, seeds: Path, folder: Path) -> Outcome:
    """What comes of the input ``number`` of a target, in ``folder``.

    Below 0 nothing is damaged: -1 is the first pair of a seed and what reads it, and so on.
    """
    target, random = TARGETS[name], Random(f"{name}:{number}")
    pairs = list(pairs_of(name))
    kind = random.choice(sorted(target.seeds))
    entrance = random.choice(target.seeds[kind].entrances)
    if number < 0:
        kind, entrance = pairs[-1 - number]
    emptied(folder)
    shutil.copytree(seeds / name / kind, folder, dirs_exist_ok=True, symlinks=True)
    if target.warm:
        judged(entrance, folder)
    what = "sound" if number < 0 else target.damage(folder, random)
    outcome = judged(entrance, folder)
    command = " ".join(entrance.command(Path()))
    return Outcome(outcome.kind, f"{kind}: {what[:300]} | {command} | {outcome.said}")


def pairs_of(name: str) -> Iterator[tuple[str, Entrance]]:
    """Every seed of a target with everything that reads it."""
    for kind, seed in TARGETS[name].seeds.items():
        for entrance in dict.fromkeys(seed.entrances):
            yield kind, entrance
