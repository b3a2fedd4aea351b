"""Calibrated methods on one model: perplexity and KL on several texts, seconds, peak memory.

    python benchmarks/methods.py MODEL_DIR --calibration wiki.valid.txt --text wiki.test.raw
        --text shakespeare.txt -o OUT [--rows w4:gptq,w3:gptaq,w8a8:smoothquant] [--force]

A row is SCHEME:PRESET. Schemes: w4, w3, w2 (groups of 64), w4c, w3c, w2c (per channel), w8a8. Every
row quantizes in a process of its own (`tersor quantize --json`), whose seconds and peak resident
memory are quoted, and is scored here in float32: the second half of each of 16 windows of 1024
tokens, against MODEL_DIR. Rows that OUT already holds are not run again, so a table can be made in
several sittings. Writes OUT/methods.json and OUT/methods.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import tersor
from tersor.calibration.text import read_text, windows
from tersor.evaluation import CachedBase, evaluate_model
from tersor.report import to_markdown
from tersor.runtime.load import load_tokenizer

SCHEMES = {
    "w4": [],
    "w3": ["--bits", "3"],
    "w2": ["--bits", "2"],
    "w4c": ["--group-size", "0"],
    "w3c": ["--bits", "3", "--group-size", "0"],
    "w2c": ["--bits", "2", "--group-size", "0"],
    "w8a8": [],
}
PRESETS = (
    "w4",
    "imatrix",
    "gptq",
    "gptaq",
    "awq",
    "awq-gptq",
    "rotate-gptq",
    "optq-light",
    "distill",
)
ROWS = [f"{scheme}:{preset}" for scheme in ("w4", "w3", "w2") for preset in PRESETS]
ROWS += ["w8a8:w8a8", "w8a8:smoothquant"]
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def quantize(model: Path, row: str, out: Path, calibration: Path, tokens: int) -> dict[str, float]:
    """Seconds of quantizing and peak gigabytes of the process."""
    scheme, preset = row.split(":")
    command = ["-m", "tersor", "quantize", str(model), "-o", str(out), "--recipe", preset, "--json"]
    command += ["--force", *SCHEMES[scheme]]
    if preset not in ("w4", "w8a8"):
        command += ["--calibration", str(calibration), "--tokens", str(tokens)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, *command],
        check=True,
        capture_output=True,
        text=True,
    )
    printed, _, peak = done.stdout.rpartition("PEAK")
    found = json.loads(printed)
    return {
        "bits": found["bits_per_quantized_weight"],
        "seconds": round(found["seconds"], 1),
        "peak_gb": round(int(peak) / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--tokens", type=int, default=32768)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / "methods.json"
    rows: dict[str, dict[str, object]] = json.loads(store.read_text()) if store.exists() else {}
    original, tokenizer = tersor.load(arguments.model), load_tokenizer(arguments.model)
    bases = []
    for text in arguments.text:
        tokens = windows(tokenizer, read_text([text]), 1024, 16)
        bases.append((text.stem, CachedBase(original, tokens, arguments.out, skip=512)))
    for row in arguments.rows.split(","):
        if row not in rows:
            directory = arguments.out / row.replace(":", "-")
            made = quantize(
                arguments.model, row, directory, arguments.calibration, arguments.tokens
            )
            found: dict[str, object] = {"row": row, **made}
            model = tersor.load(directory)
            for name, base in bases:
                scored = evaluate_model(model, base.windows, base=base, skip=512)
                found[f"{name} ppl"] = round(scored.perplexity, 3)
                found[f"{name} original ppl"] = round(scored.base_perplexity or 0.0, 3)
                found[f"{name} KL"] = None if scored.kl_mean is None else round(scored.kl_mean, 4)
            rows[row] = found
            store.write_text(json.dumps(rows, indent=2) + "\n")
        print(json.dumps(rows[row]), flush=True)
    (arguments.out / "methods.md").write_text(to_markdown(list(rows.values())))


if __name__ == "__main__":
    main()
