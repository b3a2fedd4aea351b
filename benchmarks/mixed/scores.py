"""Which estimate of sensitivity ranks linears as the exact divergence does.

    python benchmarks/mixed/scores.py MODEL_DIR -o scores.json [--recipe w4] [--schemes w3,w4,w8]
        [--tokens 4096] [--window 128] [--sample 40] [--seeds 1]

Every score of tersor.pipeline.sensitivity.estimates.scores on the same windows; exact divergences
of a sample of the linears, drawn by chance. Prints and writes, by scheme and
over all: Spearman's rank correlation, the median of estimate / exact, and how far single ones are
from it (the 16th and 84th percentile), over several draws of the next tokens (--seeds).
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from tersor.calibration.memory import ActivationMemory
from tersor.calibration.precision import Precision
from tersor.calibration.text import TextFile, open_text
from tersor.checkpoints.opening import open_source
from tersor.pipeline.sensitivity.candidates import alone, candidates, rounded_block
from tersor.pipeline.sensitivity.estimates.gradients import backward
from tersor.pipeline.sensitivity.estimates.scores import SCORES, Windows
from tersor.pipeline.sensitivity.exact import exact_divergence
from tersor.pipeline.sensitivity.labels import variants
from tersor.pipeline.sensitivity.original import Original
from tersor.pipeline.whole_model.windows import calibration_text
from tersor.recipes import Calibration, load_recipe
from tersor.report import to_markdown

Figures = dict[str, dict[str, float]]


def measured(arguments: argparse.Namespace) -> tuple[dict[str, Figures], dict[str, float]]:
    """Seed → linear and scheme → score → estimate; and exact divergences of the sample."""
    source = open_source(arguments.model)
    recipe, _ = alone(load_recipe(arguments.recipe))
    found = candidates(source, recipe, variants(recipe, arguments.schemes.split(",")))
    texts: list[TextFile] = [open_text(path) for path in arguments.calibration]
    budget = Calibration(tokens=arguments.tokens, window=arguments.window)
    text = calibration_text(source, texts, budget)
    first = len(text.record.first_tokens)
    memory = ActivationMemory(4 * 10**9)
    original = Original(source, found.architecture, text.tokens, memory, first=first)
    original.load()
    block_of = found.architecture.block_of
    inside = [m for m in found.names() if block_of(f"{m}.weight") is not None]
    drawn = set(random.Random(0).sample(inside, min(arguments.sample, len(inside))))
    names, dtype = {f"{module}.weight" for module in drawn}, Precision.AUTO.dtype()
    estimates: dict[str, Figures] = {}
    exact: dict[str, float] = {}
    for seed in range(arguments.seeds):
        figures = estimates.setdefault(str(seed), {})
        for labels in (False, True) if seed == 0 else (False,):
            started = time.perf_counter()
            for block, seen in backward(original, names, seed, labels=labels, dtype=dtype):
                here = [name for name in names if block_of(name) == block]
                weights = {name: original.weight(name) for name in here}
                made = rounded_block(found, source, weights, seen, block, original.windows)
                windows = {name: Windows.of(seen[name]) for name in here}
                for (module, label), tensor in made.items():
                    key, name = f"{module} {label}", f"{module}.weight"
                    change = tensor.dequantize() - weights[name]
                    figures.setdefault(key, {}).update(
                        {
                            kind: score.of(windows[name], change) / original.positions
                            for kind, score in SCORES.items()
                            if score.labels == labels
                        }
                    )
                    if key not in exact:
                        exact[key] = exact_divergence(original, {name: tensor})
            seconds = time.perf_counter() - started
            print(f"seed {seed}, labels {labels}: {seconds:.0f} s", flush=True)
    return estimates, exact


def table(estimates: dict[str, Figures], exact: dict[str, float]) -> list[dict[str, object]]:
    """A row for each score; figures over all seeds."""
    labels = list(dict.fromkeys(key.rpartition(" ")[2] for key in exact))
    rows = []
    for name, score in SCORES.items():
        row: dict[str, object] = {"score": name}
        for label in ("", *labels):
            keys = [key for key in exact if key.endswith(label)]
            found = [
                float(spearmanr([f[k][name] for k in keys], [exact[k] for k in keys]).statistic)
                for f in estimates.values()
                if all(name in f[k] for k in keys)
            ]
            row[f"Spearman {label or 'all'}"] = round(float(np.mean(found)), 3)
        ratios = [
            f[key][name] / exact[key] for f in estimates.values() for key in exact if name in f[key]
        ]
        low, middle, high = np.percentile(ratios, [16, 50, 84])
        if "first" not in name:
            row |= {"estimate / exact": round(middle, 2), "16 to 84 %": f"{low:.2f} to {high:.2f}"}
        else:
            row |= {"estimate / exact": None, "16 to 84 %": None}
        row["source"] = score.source
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--recipe", default="w4")
    parser.add_argument("--schemes", default="w3,w4,w8")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--sample", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    estimates, exact = measured(arguments)
    rows = table(estimates, exact)
    print(to_markdown(rows))
    document = {"rows": rows, "exact": exact, "estimates": estimates}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
