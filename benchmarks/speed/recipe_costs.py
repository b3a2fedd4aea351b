"""What recipes cost on larger models: seconds and peak memory, from models of a few blocks.

    python benchmarks/speed/recipe_costs.py MODEL_DIR -o OUT [--recipes w4,gptq] [--shapes 1.5B,7B]

MODEL_DIR (SmolLM2) is quantized whole and gives its tokenizer. Larger models have random weights in
the shape of Qwen2.5-1.5B and LLaMA-7B, SmolLM2's vocabulary, and 1 and 3 blocks; blocks are
quantized one after the other and take the same, so the seconds of all blocks follow from the
difference. Nothing that grows with the number of blocks stays in memory. Writes
OUT/recipe_costs.{json,md}.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

from tersor.report import to_markdown

SHAPES = {
    "1.5B": (28, {"hidden_size": 1536, "intermediate_size": 8960, "heads": 12, "kv_heads": 2}),
    "7B": (32, {"hidden_size": 4096, "intermediate_size": 11008, "heads": 32, "kv_heads": 32}),
}

SPAWN = multiprocessing.get_context("spawn")


def make(directory: Path, original: Path, shape: dict[str, int], blocks: int) -> None:
    config = transformers.LlamaConfig(
        hidden_size=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        num_hidden_layers=blocks,
        vocab_size=49152,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    for file in original.glob("*token*"):
        shutil.copy(file, directory)


def quantized(model: Path, out: Path, recipe: str) -> tuple[float, float]:
    """Seconds and GB at most of a process of its own."""
    command = [sys.executable, "-m", "tersor", "quantize", str(model), "-o", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--recipe", recipe], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{recipe} of {model} failed")
    shutil.rmtree(out)
    return seconds, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--recipes", default="w4,imatrix,gptq,rotate-gptaq")
    parser.add_argument("--shapes", default="1.5B,7B")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for recipe in arguments.recipes.split(","):
        seconds, memory = quantized(arguments.model, out / "quantized", recipe)
        row: dict[str, object] = {"recipe": recipe, "0.1B s": round(seconds), "GB": memory}
        for name in arguments.shapes.split(","):
            blocks, shape = SHAPES[name]
            found = {}
            for few in (1, 3):
                model = out / f"{name}-{few}"
                if not model.exists():
                    # In a process of its own: what is started from this one begins with its peak.
                    process = SPAWN.Process(target=make, args=(model, arguments.model, shape, few))
                    process.start()
                    process.join()
                found[few] = quantized(model, out / "quantized", recipe)
                print(json.dumps([recipe, name, few, *found[few]]), flush=True)
            each = (found[3][0] - found[1][0]) / 2
            row[f"{name} s"] = round(found[1][0] + (blocks - 1) * each)
            row[f"{name} GB"] = found[3][1]
        rows.append({key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()})
        print(json.dumps(rows[-1]), flush=True)
    (out / "recipe_costs.json").write_text(json.dumps(rows, indent=2) + "\n")
    (out / "recipe_costs.md").write_text(to_markdown(rows))
    print(to_markdown(rows))


if __name__ == "__main__":
    main()
