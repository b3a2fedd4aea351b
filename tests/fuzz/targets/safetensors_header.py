"""Headers of safetensors files: lengths, offsets, shapes, types and names that do not fit."""

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from fuzz import entrances, seeds
from fuzz.damage import damage, replace
from fuzz.mutations import dumped, mutate
from fuzz.target import Seed, Target
from fuzz.targets.json_files import PUBLISHED, artifacts, models

_LENGTH = 8
_DTYPES = (
    *("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I64", "I32", "I16"),
    *("I8", "U64", "U32", "U16", "U8", "BOOL", "C64", "f32", "", "X"),
)
_NUMBERS = (-1, 0, 1, 2, 63, 2**31, 2**40, 2**63, 2**64 - 1, 10**25)


def damage_header(name: str, folder: Path, random: Random) -> str:
    """Damage the header of ``model/name``."""
    path = folder / "model" / name
    data = path.read_bytes()
    length = int.from_bytes(data[:_LENGTH], "little")
    text, values = data[_LENGTH : _LENGTH + length], data[_LENGTH + length :]
    header = json.loads(text)
    choice = random.random()
    if choice < 0.2:
        ends = [_LENGTH + length + entry["data_offsets"][1] for entry in _entries(header)]
        return damage(path, random, (0, 4, _LENGTH, _LENGTH + length // 2, _LENGTH + length, *ends))
    if choice < 0.3:
        said = random.choice((0, 1, length - 1, length + 1, length * 2, len(data), 2**30, 2**63))
        replace(path, said.to_bytes(_LENGTH, "little") + text + values)
        return f"{name}: {said} bytes of header announced, {length} there"
    what = _entry(header, random) if choice < 0.85 else mutate(header, random, _DTYPES)
    after = dumped(header).encode("utf-8", "surrogatepass")
    replace(path, len(after).to_bytes(_LENGTH, "little") + after + values)
    return f"{name}: {what}"


def _entries(header: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for name, entry in header.items() if name != "__metadata__"]


def _entry(header: dict[str, Any], random: Random) -> str:
    """Change one tensor's entry in a way that only a reader of tensors can notice."""
    names = sorted(name for name in header if name != "__metadata__")
    name, other = random.choice(names), random.choice(names)
    entry = header[name]
    match random.choice(("dtype", "shape", "shape", "offset", "steal", "swap", "name", "gone")):
        case "dtype":
            entry["dtype"] = random.choice(_DTYPES)
        case "shape":
            _reshape(entry["shape"], random)
        case "offset":
            side = random.randrange(2)
            near = entry["data_offsets"][side] + random.choice((-8, -4, -1, 1, 4, 8))
            entry["data_offsets"][side] = random.choice((near, near, *_NUMBERS))
        case "steal":
            entry["data_offsets"] = list(header[other]["data_offsets"])
        case "swap":
            header[name], header[other] = header[other], header[name]
            return f"{name} and {other} swapped"
        case "name":
            header[random.choice((other, "", "a/b", f"{name}.", name + "x" * 5000))] = entry
            del header[name]
            return f"{name} has another name"
        case _:
            del header[name]
            return f"{name} is gone"
    return f"{name} is {str(entry)[:200]}"


def _reshape(shape: list[int], random: Random) -> None:
    match random.choice(("turn", "number", "more", "less", "halve")):
        case "turn":
            shape.reverse()
        case "number" if shape:
            shape[random.randrange(len(shape))] = random.choice(_NUMBERS)
        case "more":
            shape.insert(0, random.choice((1, 0, 2**32)))
        case "less":
            del shape[:1]
        case _ if shape:
            shape[0] //= 2
            shape[-1] *= 2


HEADER = Target(
    artifacts("w4", "nf4", "w8a8-static", "nvfp4") | models("llama") | PUBLISHED,
    partial(damage_header, "model.safetensors"),
)
ADAPTER = Target(
    {"lora": Seed(seeds.adapted, entrances.MERGING)},
    partial(damage_header, "adapter_model.safetensors"),
)
