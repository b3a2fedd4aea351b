"""GGUF files of one size: tersor's, and llama.cpp's with and without an importance matrix.

    python benchmarks/gguf_quality.py ORIGINAL -o OUT --text wiki.test.raw
        --calibration wiki.valid.txt --python PYTHON --tools LLAMA_CPP/build/bin
        [--types q4_0,q4_k_m,q3_k_m,q2_k] [--windows 8] [--chunks 64] [--threads 2]
        [--extra q4_0/NAME=FILE.gguf]

ORIGINAL: a model directory, and OUT/f16.gguf the same as llama.cpp's convert_hf_to_gguf.py makes
it. PYTHON has llama-cpp-python. For each type tersor's recipe `gguf-TYPE`, and llama-quantize plain
and with the matrix that llama-imatrix makes of the same text, CHUNKS windows of 512 tokens for
both. Files that are in OUT already are kept, and so are their figures. Loss: llama.cpp's logits
over the second half of windows of 1024 tokens against ORIGINAL in float32 by transformers. MB: of
all tensors. Writes OUT/gguf_quality.{json,md}.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gguf import GGUFReader
from loss_beside_speed import SKIP, peer

import tersor
from tersor.calibration.text import read_plain, windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.evaluation import CachedBase, evaluate_model
from tersor.report import to_markdown
from tersor.runtime.load import load

CHUNK = 512


def made(arguments: argparse.Namespace) -> dict[str, dict[str, Path]]:
    """Type → who made it → file."""
    found: dict[str, dict[str, Path]] = {}
    plain, matrix = arguments.out / "f16.gguf", arguments.out / "imatrix.gguf"
    if not plain.is_file():
        sys.exit(f"no {plain}: make it with llama.cpp's convert_hf_to_gguf.py --outtype f16")
    tools = arguments.tools
    if not matrix.is_file():
        run(tools / "llama-imatrix", "-m", plain, "-f", arguments.calibration, "-o", matrix,
            "--chunks", arguments.chunks, "-c", CHUNK, "-t", arguments.threads)  # fmt: skip
    for kind in arguments.types.split(","):
        files = {
            who: arguments.out / f"{kind}-{who}.gguf" for who in ("plain", "imatrix", "tersor")
        }
        for who, options in (("plain", ()), ("imatrix", ("--imatrix", matrix))):
            if not files[who].is_file():
                run(tools / "llama-quantize", *options, plain, files[who], kind.upper(),
                    arguments.threads)  # fmt: skip
        if not files["tersor"].is_file():
            tersor.quantize(
                arguments.original,
                files["tersor"],
                f"gguf-{kind}",
                calibration=arguments.calibration,
                tokens=arguments.chunks * CHUNK,
                window=CHUNK,
            )
        found[kind] = files
    for name, file in arguments.extra:
        kind, who = name.split("/")
        found.setdefault(kind, {})[who] = Path(file)
    return found


def run(*command: object) -> None:
    print(" ".join(map(str, command)), flush=True)
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def tensor_bytes(path: Path) -> int:
    return int(sum(tensor.n_bytes for tensor in GGUFReader(path).tensors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--types", default="q4_0,q4_k_m,q3_k_m,q2_k")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--chunks", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--extra", action="append", default=[], type=lambda t: t.split("=", 1))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = made(arguments)
    tokens = windows(
        load_tokenizer(arguments.original), read_plain(arguments.text), 1024, arguments.windows
    )
    base = CachedBase(load(arguments.original), tokens, arguments.out, skip=SKIP)
    kept = arguments.out / "gguf_quality.json"
    rows = json.loads(kept.read_text())["rows"] if kept.is_file() else []
    for kind, by in files.items():
        for who, path in by.items():
            place = f"{arguments.python}:{path}"
            stamp = path.stat().st_mtime
            if any(row["file"] == str(path) and row["made"] == stamp for row in rows):
                continue
            rows = [row for row in rows if row["file"] != str(path)]
            model = peer("llamacpp_logits.py", place, tokens, arguments.threads)
            found = evaluate_model(model, tokens, base=base, skip=SKIP)
            rows.append(
                {
                    "type": kind,
                    "by": who,
                    "file": str(path),
                    "made": stamp,
                    "MB": round(tensor_bytes(path) / 1e6, 2),
                    "perplexity": round(found.perplexity, 3),
                    "KL": float(f"{found.kl_mean:.4g}"),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
            kept.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    table = []
    for row in rows:
        of_matrix = [r for r in rows if (r["type"], r["by"]) == (row["type"], "imatrix")]
        share = f"{row['KL'] / of_matrix[0]['KL']:.3f}" if of_matrix else ""
        table.append(
            {**{k: row[k] for k in ("type", "by", "MB", "perplexity", "KL")}, "of imatrix's": share}
        )
    print(to_markdown(table))
    (arguments.out / "gguf_quality.md").write_text(to_markdown(table))


if __name__ == "__main__":
    main()
