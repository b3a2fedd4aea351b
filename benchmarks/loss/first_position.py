"""Whether statistics should see the first position of a window.

    python benchmarks/loss/first_position.py MODEL_DIR --calibration wiki.valid.txt \
        --text wiki.test.raw -o OUT --recipes gptq,smoothquant,w8a8-static [--tokens 16384]

A model whose tokenizer puts a token in front has its largest activations there. This quantizes with
that position in Hessians, means, ranges and scales, as tersor does, and without it, and prints the
loss of both: windows of 512 tokens, of which the second half is scored. Leaving it out is done here
by replacing the functions that gather statistics, since tersor has no switch for it.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

import tersor
from tersor.pipeline.blocks import loop, scaling
from tersor.recipes import Adjustments, load_recipe

WINDOW = 512


def without_first(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Rows ``(tokens, in)`` of whole windows without the first of each; others as they are."""
    return [
        x.view(-1, WINDOW, x.shape[-1])[:, 1:].flatten(0, 1) if len(x) % WINDOW == 0 else x
        for x in inputs
    ]


def leaving_out(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """``function`` with its argument number ``at`` without first positions."""

    def changed(*arguments: Any, **named: Any) -> Any:
        given = list(arguments)
        given[at] = without_first(given[at])
        return function(*given, **named)

    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--recipes", default="gptq,smoothquant,w8a8-static")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--windows", type=int, default=6)
    arguments = parser.parse_args()
    observe = leaving_out(loop.observe, 0)
    scale = leaving_out(scaling._scale, 3)
    for name in arguments.recipes.split(","):
        recipe = Adjustments(tokens=arguments.tokens).apply(load_recipe(name))
        for seen in (True, False):
            with (
                patch.object(loop, "observe", loop.observe if seen else observe),
                patch.object(scaling, "_scale", scaling._scale if seen else scale),
            ):
                tersor.quantize(
                    arguments.model,
                    arguments.out / "artifact",
                    recipe,
                    calibration=[arguments.calibration],
                    force=True,
                )
            (found,) = tersor.evaluate(
                arguments.out / "artifact",
                base=arguments.model,
                text=[arguments.text],
                context=WINDOW,
                windows=arguments.windows,
                skip=WINDOW // 2,
            ).evaluations
            row = {"recipe": name, "first position": seen, "KL": found.kl_mean}
            print(json.dumps(row | {"perplexity": found.perplexity}), flush=True)


if __name__ == "__main__":
    main()
