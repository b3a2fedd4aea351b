"""What 8 bits for an untied head and embedding lose: a rotated model with nothing else quantized.

    python benchmarks/loss/untied.py MODEL_DIR --text wiki.test.raw -o OUT [--windows 4]

The model's linears stay in its own type; head and embedding are rounded to nearest as the presets
with a rotation say, or left alone. Scores the second half of each window of 1024 tokens in
float32, against MODEL_DIR. Prints one line of JSON per variant: MB of the two matrices, KL,
perplexity.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import tersor
from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.ranges import MinMax
from tersor.recipes import Recipe, load_recipe
from tersor.rounding import Nearest

# One small matrix is always rounded, to 8 bits: a plan without any is refused.
OTHERS = ("re:.*layers\\.(?!0\\.self_attn\\.k_proj)",)
PAIR = ("lm_head", "embed_tokens")
VARIANTS = {"16 bits": PAIR, "head of 8 bits": PAIR[1:], "both of 8 bits": ()}


def recipe(exclude: tuple[str, ...]) -> Recipe:
    """The rotation alone, and ``exclude`` left alone as well as the blocks."""
    rotated = load_recipe("rotate-gptq")
    assert rotated.untied is not None
    scheme = replace(rotated.scheme, weights=rotated.untied)
    return replace(
        rotated,
        scheme=scheme,
        range=MinMax(),
        rounding=Nearest(),
        exclude=(*OTHERS, *exclude),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=4)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(arguments.model)
    tokens = windows(tokenizer, read_plain(arguments.text), 1024, arguments.windows)
    original = tersor.load(arguments.model, kernels=False)
    base = CachedBase(original, tokens, arguments.out, skip=512)
    for name, exclude in VARIANTS.items():
        directory = arguments.out / name.replace(" ", "-")
        made = tersor.quantize(arguments.model, directory, recipe(exclude), force=True)
        model = tersor.load(directory, kernels=False)
        scored = evaluate_model(model, base.windows, base=base, skip=512)
        pair = [m for m in made.plan.modules() if m.module.endswith(PAIR)]
        found = {
            "variant": name,
            "MB of both": round(sum(m.stored_bytes for m in pair) / 1e6, 1),
            "MB": round(made.plan.bytes / 1e6, 1),
            "KL": None if scored.kl_mean is None else round(scored.kl_mean, 5),
            "perplexity": round(scored.perplexity, 3),
            "original": round(scored.base_perplexity or 0.0, 3),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
