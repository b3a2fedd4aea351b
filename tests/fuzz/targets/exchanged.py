"""Checkpoints of other tools: values, descriptions and headers."""

from functools import partial
from pathlib import Path
from random import Random

from fuzz import entrances, seeds
from fuzz.target import Seed, Target
from fuzz.targets.json_files import damage_json
from fuzz.targets.safetensors_header import damage_header
from fuzz.targets.weights import damage_values

_DAMAGES = (
    *(damage_values, damage_values),
    partial(damage_json, "config.json", "quantization_config"),
    partial(damage_header, "model.safetensors"),
)
_READ_BY = (*entrances.ARTIFACT, entrances.IMPORT, *2 * (entrances.CHECK,))


def _damage(folder: Path, random: Random) -> str:
    return random.choice(_DAMAGES)(folder, random)


_RECIPES = {
    **{"gptq": "w4", "gptq-v2": "w4-asym", "awq": "w4-asym", "mlx": "w4-asym"},
    "compressed-tensors": "w4-asym",
}


def _target(name: str, recipe: str) -> Target:
    sound = Seed(partial(seeds.artifact, recipe=recipe, format_name=name), _READ_BY)
    return Target({name: sound}, _damage)


EXCHANGED = {name: _target(name, recipe) for name, recipe in _RECIPES.items()}
