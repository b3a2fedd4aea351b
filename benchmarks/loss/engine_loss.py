"""What the engine's own rounding costs: KL of the engine against the same artifact simulated.

    python benchmarks/loss/engine_loss.py ARTIFACT --original MODEL_DIR --text wiki.test.raw -o OUT

The artifact's weights run in float32 under transformers (nothing is rounded but the weights) and by
the engine with int8 or float32 activations and every kind of cache. Scored like the rows of
`benchmarks/loss/methods.py`; the last column is the divergence from the original. Writes
OUT/loss.json and OUT/loss.md.
"""

import argparse
import json
from pathlib import Path

from torch import nn

from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.report import to_markdown
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.logits_module import EngineModule
from tersor.runtime.load import load

CACHES = ("float32", "float16", "bfloat16", "int16", "int8")
# Bits of activations, of matrices that the artifact left as floats, and the cache.
RUNS = [
    *((8, 16, cache) for cache in CACHES),
    *((16, 16, cache) for cache in CACHES),
    (16, 8, "float32"),
    (8, 8, "int16"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--original", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=16)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokens = windows(
        load_tokenizer(arguments.original), read_plain(arguments.text), 1024, arguments.windows
    )
    simulated = load(arguments.artifact, kernels=False)
    original = CachedBase(load(arguments.original), tokens, arguments.out, skip=512)
    base = CachedBase(simulated, tokens, arguments.out, skip=512)
    table: list[dict[str, object]] = []

    def add(name: str, model: nn.Module, against_itself: bool) -> None:
        row: dict[str, object] = {"run": name}
        if against_itself:
            found = evaluate_model(model, tokens, base=base, skip=512)
            row["KL from simulated"] = found.kl_mean
        found = evaluate_model(model, tokens, base=original, skip=512)
        row |= {"perplexity": found.perplexity, "KL from original": found.kl_mean}
        print(json.dumps(row), flush=True)
        table.append(row)

    for bits, dense, cache in RUNS:
        engine = Engine(
            arguments.artifact, activation_bits=bits, dense_bits=dense, cache=cache, context=1024
        )
        add(f"engine, A{bits}, dense {dense}, {cache} cache", EngineModule(engine), True)
    add("simulated", simulated, False)
    (arguments.out / "loss.json").write_text(json.dumps(table, indent=2) + "\n")
    rows = [{key: row.get(key) for key in table[0]} for row in table]
    (arguments.out / "loss.md").write_text(to_markdown(rows))


if __name__ == "__main__":
    main()
