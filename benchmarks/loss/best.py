"""The experiments that chose `best`: one step of its recipe after the other, changed or left out.

    python benchmarks/loss/best.py MODEL_DIR --calibration wiki.valid.txt --text wiki.test.raw
        -o OUT [--bits 4] [--variants gptaq,rotated] [--windows 16]

Every variant is `gptaq` with some changes (VARIANTS). Each is quantized and scored like the rows of
`benchmarks/loss/methods.py`; variants that OUT already holds are not run again. Writes
OUT/best-BITS.json and OUT/best-BITS.md. All of them take hours on two cores.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

import tersor
from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.recipes import Adjustments, Recipe, parse, preset_text
from tersor.report import to_markdown

ROTATED: dict[str, Any] = {"rotation": {"method": "random"}}
VARIANTS: dict[str, dict[str, Any]] = {
    "gptaq": {},
    "scales without signs": {"weights": {"symmetry": "full"}},
    "drift damping 0.05": {"rounding": {"drift_damping": 0.05}},
    "drift damping 0.2": {"rounding": {"drift_damping": 0.2}},
    "drift damping 3": {"rounding": {"drift_damping": 3.0}},
    "twice the text": {"calibration": {"tokens": 65536}},
    "awq": {"scaling": {"method": "awq"}},
    "rotated": ROTATED,
    "rotated + gptq": {**ROTATED, "rounding": {"drift": False}},
    "distilled": {"training": {"method": "distill"}},
    "rotated + distilled": {**ROTATED, "training": {"method": "distill"}},
    "rotated + distilled without norms": {
        **ROTATED,
        "training": {"method": "distill", "norm_rate": 0.0},
    },
    "rotated + distilled on half the text": {
        **ROTATED,
        "training": {"method": "distill", "tokens": 65536},
    },
    "rotated + distilled at twice the rate": {
        **ROTATED,
        "training": {"method": "distill", "scale_rate": 2e-3, "norm_rate": 2e-3},
    },
    "rotated + qat": {**ROTATED, "training": {"method": "qat"}},
    "rotated + optq-light + distilled": {
        **ROTATED,
        "rounding": {"method": "optq", "iterations": 20, "travel": 0.7, "checks": 1},
        "training": {"method": "distill"},
    },
}


def recipe(name: str) -> Recipe:
    """`gptaq` with the changes of a variant."""
    document: dict[str, Any] = yaml.safe_load(preset_text("gptaq"))
    for slot, change in VARIANTS[name].items():
        # Another method has other numbers, so none of the old ones are kept.
        kept = {} if "method" in change else document.get(slot, {})
        document[slot] = {**kept, **change}
    return parse(yaml.safe_dump(document), name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--windows", type=int, default=16)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / f"best-{arguments.bits}.json"
    rows: dict[str, dict[str, object]] = json.loads(store.read_text()) if store.exists() else {}
    tokenizer = load_tokenizer(arguments.model)
    tokens = windows(tokenizer, read_plain(arguments.text), 1024, arguments.windows)
    base = CachedBase(tersor.load(arguments.model, kernels=False), tokens, arguments.out, skip=512)
    for name in arguments.variants.split(","):
        if name not in rows:
            made = tersor.quantize(
                arguments.model,
                arguments.out / "artifact",
                Adjustments(bits=arguments.bits).apply(recipe(name)),
                calibration=[arguments.calibration],
                force=True,
            )
            scored = evaluate_model(
                tersor.load(arguments.out / "artifact", kernels=False),
                base.windows,
                base=base,
                skip=512,
            )
            assert scored.kl_mean is not None
            rows[name] = {
                "variant": name,
                "MB": round(made.plan.bytes / 1e6, 1),
                "perplexity": round(scored.perplexity, 3),
                "KL": round(scored.kl_mean, 4),
                "seconds": round(made.seconds),
            }
            store.write_text(json.dumps(rows, indent=2) + "\n")
        print(json.dumps(rows[name]), flush=True)
    store.with_suffix(".md").write_text(to_markdown(list(rows.values())))


if __name__ == "__main__":
    main()
