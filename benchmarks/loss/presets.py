"""Presets that round to nearest, on SmolLM2-135M: size, perplexity and KL divergence.

    python benchmarks/loss/presets.py --text wiki.test.raw --text shakespeare.txt -o DIR
        [--recipes w4,nf4]

The others take calibration text and longer: benchmarks/loss/methods.py. Writes one artifact per
preset and compare.{csv,json,md} to the output directory. Scores the second half of 16 windows of
1024 tokens, in float32, against the restored bfloat16 model.
"""

import argparse
from pathlib import Path

from tersor.demo import demo_model
from tersor.pipeline.studies.compare import compare_recipes
from tersor.pipeline.studies.evaluate import Protocol
from tersor.recipes import Recipe, load_recipe, preset_names


def rounds_to_nearest(recipe: Recipe) -> bool:
    weighted = bool(recipe.range.needs)
    return not recipe.rounding.needs and recipe.scaling is None and not weighted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--recipes", help="comma-separated; default: all that round to nearest")
    arguments = parser.parse_args()
    names = arguments.recipes.split(",") if arguments.recipes else preset_names()
    recipes = [load_recipe(name) for name in names]
    if not arguments.recipes:
        recipes = [recipe for recipe in recipes if rounds_to_nearest(recipe)]
    compare_recipes(
        demo_model(),
        recipes,
        arguments.out,
        text=arguments.text,
        protocol=Protocol(context=1024, windows=arguments.windows, skip=512),
        force=True,
    )
    print((arguments.out / "compare.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
