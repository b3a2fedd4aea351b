"""Mixtures of widths against the uniform scheme of the same size, and sizes at the same loss.

    python benchmarks/mixed/budgets.py MODEL_DIR --text wiki.test.raw --text shakespeare.txt -o OUT
        [--rows w4:4,w4:3,gptq:4,gptq:3] [--exact] [--steps 0.1,0.2,0.3] [--windows 8]
        [--own-groups] [--calibration-tokens N] [--embedding 6,5,4]

A row RECIPE:BITS is the size of the recipe with that many bits for all linears of the blocks; head
and embedding stay as they are. At that size: the uniform scheme, the mixture of neighbouring
widths, of any widths, and with --exact the one that exact sensitivities lead to (measured on fewer
tokens at the recipe's group size; other groups by the ratio of the estimates). Then mixtures that
are --steps bits smaller, by which the size of the uniform scheme's loss is found (interpolated
between logarithms). KL in nats against MODEL_DIR in float32: WINDOWS windows of 512 tokens, without
the first of each. --own-groups: no choice of the group size. Seconds: of sensitivities (once for a
recipe), and of quantizing. What OUT holds is not done again. Writes OUT/budgets.json and
OUT/budgets.md. --embedding: also the uniform scheme of those bits for all linears, head and
embedding, by the first recipe.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import tersor
from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.pipeline.budgets.choosing import Choosing, choosing
from tersor.pipeline.budgets.goal import Bits
from tersor.pipeline.budgets.limit import limit_of
from tersor.pipeline.budgets.space import space_of
from tersor.pipeline.request import requested
from tersor.pipeline.sensitivity.candidates import outside_of
from tersor.pipeline.sensitivity.labels import variants
from tersor.pipeline.sensitivity.measure import sensitivities
from tersor.pipeline.sensitivity.protocol import Protocol
from tersor.recipes import Adjustments, Recipe, load_recipe
from tersor.report import to_markdown

_EXACT_TOKENS = 1024


class Judge:
    """Quantizes and scores, and remembers both in a file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.model, self.out = arguments.model, arguments.out
        self.store = self.out / "budgets.json"
        self.rows: dict[str, dict[str, Any]] = {}
        if self.store.exists():
            self.rows = json.loads(self.store.read_text())
        original = tersor.load(self.model, kernels=False)
        tokenizer = load_tokenizer(self.model)
        self.bases = [
            (
                text.stem,
                CachedBase(
                    original, windows(tokenizer, read_plain(text), 512, arguments.windows), self.out
                ),
            )
            for text in arguments.text
        ]

    def row(self, name: str, recipe: Recipe, facts: dict[str, Any]) -> dict[str, Any]:
        """One artifact: its size, its losses, how long it took."""
        if name not in self.rows:
            directory = self.out / "artifact"
            made = tersor.quantize(self.model, directory, recipe, force=True)
            model = tersor.load(directory, kernels=False)
            found: dict[str, Any] = {
                "row": name,
                "bits": round(made.plan.bits_per_quantized_weight, 4),
                "MB": round(made.plan.bytes / 1e6, 2),
            }
            for text, base in self.bases:
                kl = evaluate_model(model, base.windows, base=base).kl_mean
                found[f"{text} KL"] = None if kl is None else round(kl, 5)
            self.keep(name, found | facts | {"quantize s": round(made.seconds, 1)})
        return self.rows[name]

    def keep(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name] = row
        self.store.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def recipe_of(preset: str, arguments: argparse.Namespace) -> Recipe:
    """The preset, on as much calibration text as was asked for."""
    recipe, tokens = load_recipe(preset), arguments.calibration_tokens
    if tokens is None:
        return recipe
    return replace(recipe, calibration=replace(recipe.calibration, tokens=tokens))


def found_for(model: Path, recipe: Recipe, widths: tuple[int, ...], own_groups: bool) -> Choosing:
    """What there is to choose among ``widths``, in the recipe's groups and half of them."""
    request = requested(model, None, recipe, Adjustments())
    goal = Bits(4.25)  # only its kind matters here
    space = space_of(request.source, request.plan, goal.option, outside=False)
    own = space.own_group
    labels = [
        label
        for label, scheme in space.schemes.items()
        if scheme.grid.bits in widths
        and (own is None or (scheme.group_size or 0) in ((own,) if own_groups else (own, own // 2)))
    ]
    return choosing(request, goal, space, labels, any_widths=False, watch=lambda _: None)


def mixed(found: Choosing, bits: float, any_widths: bool = False) -> Recipe:
    """The recipe of the best mixture at a size."""
    limit = limit_of(found.space, Bits(bits))
    mixture = replace(found, any_widths=any_widths).within(limit.most, limit.least)
    assert mixture is not None, "no mixture has that size"
    return found.plan(mixture).recipe


def with_exact(found: Choosing) -> tuple[Choosing, float]:
    """The same with exact figures at the recipe's own groups; others by the estimates' ratio."""
    own = [label for label in found.space.own_labels() if label in found.labels]
    recipe = found.request.plan.recipe
    measured = sensitivities(
        found.request.source,
        recipe,
        variants(recipe, own),
        wanted=lambda module, _: module not in found.space.outside,
        protocol=Protocol(tokens=_EXACT_TOKENS, exact=None),
    )
    exact = {(row.part, row.scheme): row.kl for row in measured.rows}
    width = {label: found.space.schemes[label].grid.bits for label in found.labels}
    by_width = {width[label]: label for label in own}
    losses = {}
    for (module, label), estimate in found.losses.items():
        like = by_width.get(width.get(label, 0))
        if like is None:
            continue
        ratio = exact[module, like] / max(found.losses[module, like], 1e-12)
        losses[module, label] = estimate * ratio
    return replace(found, losses=losses), measured.seconds


def equal_loss(uniform: dict[str, Any], smaller: list[dict[str, Any]], text: str) -> float | None:
    """MB of the mixture that loses as much as the uniform scheme does."""
    key, target = f"{text} KL", log(uniform[f"{text} KL"])
    points = sorted((row["MB"], log(row[key])) for row in smaller)
    for (small, more), (large, less) in pairwise(points):
        if less <= target <= more:
            share = (target - less) / (more - less) if more > less else 0.0
            return round(large - share * (large - small), 2)
    return None


def one(
    judge: Judge, found: Choosing, preset: str, width: int, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """All rows of RECIPE:BITS."""
    name = f"{preset}:{width}"
    recipe = recipe_of(preset, arguments)
    uniform = judge.row(f"{name} uniform", recipe.with_bits(width), {})
    yield uniform
    bits, facts = uniform["bits"], {"sensitivities s": round(found.seconds, 1)}
    smaller = [judge.row(f"{name} mixture", mixed(found, bits), facts)]
    yield smaller[0]
    yield judge.row(f"{name} mixture of any widths", mixed(found, bits, True), {})
    if arguments.exact:
        better, seconds = with_exact(found)
        facts = {"sensitivities s": round(seconds, 1)}
        yield judge.row(f"{name} mixture, exact", mixed(better, bits), facts)
    for step in map(float, filter(None, arguments.steps.split(","))):
        row = judge.row(f"{name} mixture, {step} bits less", mixed(found, bits - step), {})
        smaller.append(row)
        yield row
    for text, _ in judge.bases:
        print(name, f"MB at equal KL on {text}:", equal_loss(uniform, smaller, text), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rows", default="w4:4,w4:3,gptq:4,gptq:3")
    parser.add_argument("--steps", default="0.1,0.2")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--own-groups", action="store_true")
    parser.add_argument("--embedding", default="")
    parser.add_argument("--calibration-tokens", type=int)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(arguments)
    wanted = [name.split(":") for name in arguments.rows.split(",")]
    found = {}
    rows = []
    for preset, width in wanted:
        if preset not in found:
            of = [int(bits) for name, bits in wanted if name == preset]
            widths = tuple(range(min(of) - 1, max(of) + 2))
            found[preset] = found_for(
                judge.model, recipe_of(preset, arguments), widths, arguments.own_groups
            )
        rows += list(one(judge, found[preset], preset, int(width), arguments))
    for bits in filter(None, arguments.embedding.split(",")):
        preset = wanted[0][0]
        recipe = recipe_of(preset, arguments).with_bits(int(bits))
        outside = outside_of(found[preset].request.plan.architecture)
        recipe = replace(recipe, include=(*recipe.include, *outside))
        rows.append(judge.row(f"{preset}:{bits} uniform with embedding", recipe, {}))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [{name: row.get(name) for name in columns} for row in rows]
    (arguments.out / "budgets.md").write_text(to_markdown(table))
    print(to_markdown(table))


if __name__ == "__main__":
    main()
