"""Recipes: every key with every kind of value, and what YAML can do besides."""

from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import yaml

import tersor
from fuzz import entrances, seeds
from fuzz.damage import damage, replace
from fuzz.mutations import Again, Raw, mutate
from fuzz.target import Seed, Target
from tersor.recipes import dump, preset_names, preset_text
from tersor.recipes.document import parse

_WORDS: tuple[Any, ...] = (
    *("int", "nf4", "fp4", "log2", "kmeans", "fp8_e4m3", "fp8_e5m2", "full", "restricted", "none"),
    *("group", "channel", "tensor", "token", "float", "e8m0", "e4m3", "minmax", "mse", "clip"),
    *("percentile", "importance", "entropy", "moving_average", "nearest", "gptq", "optq", "awq"),
    *("smoothquant", "distill", "qat", "random", "lm_head", "embed_tokens", "down_proj", "re:.*"),
    *("re:(", "*.layers.0.*", 2, 3, 4, 8, 16, 32, 64, 128),
    *({"method": "gptq"}, {"method": "percentile", "percentile": 99.9}, {"method": "awq"}),
    *({"method": "distill"}, {"method": "random"}, {"grid": "int", "bits": 8}, ["lm_head"]),
    *([{"match": "down_proj", "skip": True}], [{"match": "o_proj", "weights": {"bits": 8}}]),
)
_KEYS = (
    *("activations", "activation_range", "rotation", "untied", "scaling", "rounding", "training"),
    *("correction", "include", "exclude", "overrides", "calibration", "seed", "range"),
)
_BOMB = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
# What the text of a recipe can be besides a mapping of plain values.
_TEXTS = (
    "a0: &a0 x\n" + _BOMB + "name: *a8\n",
    "name: &x [*x]\n",
    "name: !!python/object/apply:os.system ['touch escaped']\n",
    "weights: !!python/name:os.system\n",
    "name: !!binary aGk=\n",
    "description: !!set {a, b}\n",
    "name: 2001-13-45\n",
    "name: 2001-12-14t21:59:43.10-05:00\n",
    "seed: 1:30\n",
    "seed: 0o17\n",
    "seed: " + "1" * 5000 + "\n",
    "seed: .nan\n",
    "calibration: {memory: .inf}\n",
    "<<: {name: x}\n",
    "<<: [{a: 1}, {b: 2}]\n",
    "? [a, b]\n: c\n",
    "? {a: b}\n: c\n",
    "~: x\n",
    "1: x\n",
    "1.5: x\n",
    "true: x\n",
    "name: a\nname: b\n",
    "---\nname: a\n---\nname: b\n",
    "name: 'a\n",
    'name: "\\ud800"\n',
    'name: "\\0\\e[31m"\n',
    "\tname: x\n",
    "%YAML 9.9\n---\nname: x\n",
    "name: " + "[" * 3000 + "]" * 3000 + "\n",
    "name: " + "{a: " * 3000 + "}" * 3000 + "\n",
    "overrides: [" + "{match: down_proj, skip: true}," * 3000 + "]\n",
    "exclude: ['re:(a+)+$']\n",
    "include: ['re:(?P<x>a)(?P=y)']\n",
    "name: ../escaped\n",
    "name: ''\n",
    "name: 'a/b'\n",
)


class _Dumper(yaml.SafeDumper):
    """Writes what ``mutations`` puts into values."""


_Dumper.add_representer(Raw, lambda dumper, raw: dumper.represent_str(raw.text))
_Dumper.add_representer(Again, lambda dumper, key: dumper.represent_str(str(key)))


def _seed(family: str, folder: Path) -> None:
    seeds.model(folder, family)
    (folder / "recipe.yaml").write_text(preset_text("w4"), encoding="utf-8")


def _damage(folder: Path, random: Random) -> str:
    path = folder / "recipe.yaml"
    text = preset_text(random.choice(preset_names()))
    path.write_text(text, encoding="utf-8")
    choice = random.random()
    if choice < 0.1:
        return damage(path, random, [at for at, one in enumerate(text) if one in ":\n{}"])
    if choice < 0.3:
        added = random.choice(_TEXTS)
        kept = text if random.random() < 0.5 else _without(text, added.partition(":")[0])
        replace(path, (kept + added).encode("utf-8", "surrogatepass"))
        return f"{added[:80]!r} at its end"
    value = yaml.safe_load(text)
    if random.random() < 0.3:
        value[random.choice(_KEYS)] = random.choice(_WORDS)
    what = mutate(value, random, _WORDS)
    path.write_text(yaml.dump(value, Dumper=_Dumper, allow_unicode=True), "utf-8", "surrogatepass")
    return f"{value.get('name')!r}: {what}"[:300]


def _without(text: str, key: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(f"{key}:"))


def _read(folder: Path) -> list[float]:
    """A recipe that is read prints as one that means the same."""
    recipe = tersor.load_recipe(folder / "recipe.yaml")
    again = parse(dump(recipe), "the same")
    return [] if repr(again) == repr(recipe) else [float("nan")]


def _quantize(folder: Path) -> list[float]:
    recipe = tersor.load_recipe(folder / "recipe.yaml")
    if recipe.needs_calibration:
        return entrances.PLAN.call(folder)
    tersor.quantize(folder / "model", folder / "results" / "out", recipe)
    return []


def _command(*more: str) -> Any:
    given = ("-o", "{}/results/out", "--recipe", "{}/recipe.yaml")
    return entrances.command("quantize", *given, *more)


READ = entrances.Entrance(_read, _command("--dry-run"))
PLAN = entrances.Entrance(
    lambda folder: entrances.plan(folder, folder / "recipe.yaml"), _command("--dry-run")
)
RUN = entrances.Entrance(_quantize, _command("--dry-run"))

RECIPE = Target(
    {name: Seed(partial(_seed, name), (READ, PLAN, RUN)) for name in ("llama", "gpt2")},
    _damage,
)
