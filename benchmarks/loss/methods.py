"""Calibrated methods on one model: perplexity and KL on several texts, seconds, peak memory.

    python benchmarks/loss/methods.py MODEL_DIR --calibration wiki.valid.txt --text wiki.test.raw
        --text shakespeare.txt -o OUT [--rows w4:gptq,w3:gptaq,w8a8:smoothquant]
        [--peer llmcompressor_gptq=PYTHON] [--peer autoround_light=PYTHON]

A row is SCHEME:PRESET. Schemes: w4, w3, w2 (groups of 64), w4c, w3c, w2c (per channel), w8a8, and
w4h16: w4 with an untied head and embedding left in the model's type. A peer is a script in
benchmarks/peers and the interpreter of the environment that it needs; its rows are SCHEME:SCRIPT,
and it gets the very tokens that tersor is calibrated on. Every row quantizes in a process of its
own (`tersor quantize --json`), whose seconds and peak resident memory are quoted, and is scored
here in float32: the second half of each of 16 windows of 1024 tokens, against MODEL_DIR. MB are of
all tensors of the artifact. Rows that OUT already holds are not run again, so a table can be made
in several sittings. Writes OUT/methods.json and OUT/methods.md.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import save_file

import tersor
from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.report import to_markdown

SCHEMES = {
    "w4": [],
    "w3": ["--bits", "3"],
    "w2": ["--bits", "2"],
    "w4c": ["--group-size", "0"],
    "w3c": ["--bits", "3", "--group-size", "0"],
    "w2c": ["--bits", "2", "--group-size", "0"],
    "w8a8": [],
    "w4h16": ["--exclude", "lm_head", "--exclude", "embed_tokens"],
}
# Presets with a rotation, which makes two tensors of a tied head and embedding.
UNTYING = ("rotate-gptq", "rotate-gptaq", "best")
PRESETS = (
    "w4",
    "imatrix",
    "gptq",
    "gptaq",
    "awq",
    "awq-gptq",
    "rotate-gptq",
    "rotate-gptaq",
    "optq-light",
    "qat",
    "best",
)
WIDTHS = [scheme for scheme in SCHEMES if scheme not in ("w8a8", "w4h16")]
ROWS = [f"{scheme}:{preset}" for scheme in WIDTHS for preset in PRESETS]
ROWS += ["w8a8:w8a8", "w8a8:smoothquant", *(f"w4h16:{preset}" for preset in UNTYING)]
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
        "MB": round(found["bytes"] / 1e6, 1),
        "seconds": round(found["seconds"], 1),
        "peak_gb": round(int(peak) / 1e6, 2),
    }


def quantize_by_peer(
    python: str, script: str, model: Path, scheme: str, tokens: Path, out: Path
) -> dict[str, float]:
    """The same of a peer, which leaves a plain model in ``out``."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors*"))
    command = [python, str(Path(__file__).parents[1] / "peers" / f"{script}.py"), str(model)]
    command += [str(tokens), str(out / "model.safetensors"), scheme.removeprefix("w")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    printed = dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) == 2)
    return {
        "seconds": round(float(printed["SECONDS"]), 1),
        "peak_gb": round(int(printed["PEAK"]) / 1e6, 2),
    }


def quantize_row(arguments: argparse.Namespace, row: str, directory: Path) -> dict[str, float]:
    """Make the artifact, or plain model, of a row."""
    peers = dict(peer.split("=", 1) for peer in arguments.peer)
    scheme, method = row.split(":")
    if method not in peers:
        return quantize(arguments.model, row, directory, arguments.calibration, arguments.tokens)
    text, count = read_plain(arguments.calibration), arguments.tokens // 512
    file = arguments.out / "tokens.safetensors"
    save_file({"tokens": windows(load_tokenizer(arguments.model), text, 512, count)}, file)
    return quantize_by_peer(peers[method], method, arguments.model, scheme, file, directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--text", type=Path, action="append", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--peer", action="append", default=[])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    store = arguments.out / "methods.json"
    rows: dict[str, dict[str, object]] = json.loads(store.read_text()) if store.exists() else {}
    original, tokenizer = (
        tersor.load(arguments.model, kernels=False),
        load_tokenizer(arguments.model),
    )
    bases = []
    for text in arguments.text:
        tokens = windows(tokenizer, read_plain(text), 1024, 16)
        bases.append((text.stem, CachedBase(original, tokens, arguments.out, skip=512)))
    for row in arguments.rows.split(","):
        if row not in rows:
            directory = arguments.out / row.replace(":", "-")
            made = quantize_row(arguments, row, directory)
            found: dict[str, object] = {"row": row, **made}
            model = tersor.load(directory, kernels=False)
            for name, base in bases:
                scored = evaluate_model(model, base.windows, base=base, skip=512)
                found[f"{name} ppl"] = round(scored.perplexity, 3)
                found[f"{name} original ppl"] = round(scored.base_perplexity or 0.0, 3)
                found[f"{name} KL"] = None if scored.kl_mean is None else round(scored.kl_mean, 4)
            rows[row] = found
            store.write_text(json.dumps(rows, indent=2) + "\n")
        print(json.dumps(rows[row]), flush=True)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [{name: row.get(name) for name in columns} for row in rows.values()]
    (arguments.out / "methods.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
