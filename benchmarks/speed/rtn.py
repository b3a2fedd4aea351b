"""Rounding to nearest, W4 group 64: time and peak memory, beside llm-compressor.

    python benchmarks/speed/rtn.py MODEL_DIR [--peer PYTHON] [--runs 5]

MODEL_DIR: a bfloat16 Hugging Face directory. PYTHON: the interpreter of an environment in which
llm-compressor is installed. Runs alternate; medians are printed. *work* is what each tool reports
for quantizing after imports and loading (tersor's includes reading, writing and reading back);
*wall* and *peak* are of the whole process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = """
import sys, time
from transformers import AutoModelForCausalLM
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="bfloat16")
weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=64)
scheme = QuantizationScheme(targets=["Linear"], weights=weights)
started = time.perf_counter()
oneshot(model=model, recipe=QuantizationModifier(config_groups={"g": scheme}, ignore=["lm_head"]))
quantized = time.perf_counter()
model.save_pretrained(sys.argv[2], save_compressed=True)
print("WORK", quantized - started, time.perf_counter() - started)
"""


def run(command: list[str]) -> tuple[str, float, float]:
    """Standard output, wall seconds and peak resident GB of a process."""
    script = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:]).returncode; "
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *command], check=True, capture_output=True, text=True
    )
    wall = time.perf_counter() - started
    peak = next(line for line in done.stdout.splitlines() if line.startswith("PEAK"))
    return done.stdout.replace(peak, ""), wall, int(peak.split()[1]) / 1e6


def tersor_run(model: Path, out: Path) -> tuple[float, float, float]:
    flags = ["--recipe", "w4", "--group-size", "64", "--force", "--json"]
    command = [sys.executable, "-m", "tersor", "quantize", str(model), "-o", str(out), *flags]
    printed, wall, peak = run(command)
    return json.loads(printed)["seconds"], wall, peak


def peer_run(python: str, model: Path, out: Path) -> tuple[float, float, float]:
    printed, wall, peak = run([python, "-c", PEER, str(model), str(out)])
    work = next(line for line in printed.splitlines() if line.startswith("WORK"))
    return float(work.split()[2]), wall, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(arguments.runs + 1):
            found = {"tersor": tersor_run(arguments.model, Path(scratch) / "tersor")}
            if arguments.peer:
                out = Path(scratch) / "peer"
                found["llm-compressor"] = peer_run(arguments.peer, arguments.model, out)
            for name, row in found.items():
                if number:  # the first round warms the page cache
                    rows.setdefault(name, []).append(row)
    for name, runs in rows.items():
        work, wall, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:16s} work {work:6.2f} s   wall {wall:6.2f} s   peak {peak:5.2f} GB")


if __name__ == "__main__":
    main()
