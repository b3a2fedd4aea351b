"""Every preset on SmolLM2-135M: size, perplexity and KL divergence.

    python benchmarks/presets.py --text wiki.test.raw --text shakespeare.txt -o /tmp/presets

Writes one artifact per preset and compare.{csv,json,md} to the output directory. Scores the second
half of each of 16 windows of 1024 tokens, in float32, against the restored bfloat16 model.
"""

import argparse
from pathlib import Path

from tersor.demo import demo_model
from tersor.pipeline.compare import compare_recipes
from tersor.pipeline.evaluation import Protocol
from tersor.recipes import load_recipe, preset_names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=16)
    arguments = parser.parse_args()
    compare_recipes(
        demo_model(),
        [load_recipe(name) for name in preset_names()],
        arguments.out,
        texts=arguments.text,
        protocol=Protocol(context=1024, windows=arguments.windows, skip=512),
        force=True,
    )
    print((arguments.out / "compare.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
