"""Packed caches: files of tersor's own that are mapped into the native kernels."""

import json
import os
from pathlib import Path
from random import Random

import numpy as np

import tersor
from fuzz import entrances
from fuzz.damage import damaged_bytes, replace
from fuzz.mutations import dumped, mutate
from fuzz.target import Target
from fuzz.targets.json_files import artifacts

_MAGIC, _LENGTH = b"TERSORPK", 8
_WORDS = ("U8", "BF16", "F32", "codes", "scales", [0, "U8", [64]], 16, 32, 64, 4096)


def _damage(folder: Path, random: Random) -> str:
    path = next(path for path in (folder / "cache").rglob("*.packed"))
    data = path.read_bytes()
    start = len(_MAGIC) + _LENGTH
    length = int.from_bytes(data[len(_MAGIC) : start], "little")
    if random.random() < 0.3:
        # Not the arrays: looking at every byte of them would take longer than packing anew.
        front, what = damaged_bytes(data[: start + length], random, (4, len(_MAGIC), start))
        replace(path, front + data[start + length :])
        return what
    header = json.loads(data[start : start + length])
    what = mutate(header, random, _WORDS)
    after = dumped(header).encode("utf-8", "surrogatepass")
    if random.random() < 0.8:
        # As long as before: what lies behind has not moved.
        after = after.ljust(length) if len(after) <= length else after
    said = len(after).to_bytes(_LENGTH, "little")
    replace(path, _MAGIC + said + after + data[start + length :])
    return what


def _same_logits(folder: Path) -> list[float]:
    """What the engine says with the cache, if it is what it says without; else NaN."""
    kept = os.environ["TERSOR_CACHE"]
    found = tersor.Engine(folder / "model").logits([0, 1, 2])
    os.environ["TERSOR_CACHE"] = "off"
    try:
        meant = tersor.Engine(folder / "model").logits([0, 1, 2])
    finally:
        os.environ["TERSOR_CACHE"] = kept
    return found.flatten().tolist() if np.array_equal(found, meant) else [float("nan")]


_ENGINE = entrances.Entrance(_same_logits, entrances.ENGINE.command)

CACHE = Target(artifacts("w4", "nf4", read_by=(_ENGINE, entrances.GENERATE)), _damage, warm=True)
