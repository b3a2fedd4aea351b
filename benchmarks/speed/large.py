"""A synthetic 7B-shaped Llama: memory while quantizing, and size of the result.

    python benchmarks/speed/large.py -o /tmp/large          # needs 24 GB of disk

Random bfloat16 weights in the exact shape of LLaMA-7B (32 blocks, hidden 4096, intermediate 11008,
vocabulary 32000, 13.5 GB). Each quantization runs in a process of its own, whose peak resident
memory the operating system reports.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
    "hidden_act": "silu",
}
BLOCK = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (4096, 4096),
    "self_attn.v_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (11008, 4096),
    "mlp.up_proj": (11008, 4096),
    "mlp.down_proj": (4096, 11008),
}


def make_model(directory: Path) -> None:
    """Write the model, one shard per block."""
    import torch
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).mul_(0.02).to(torch.bfloat16)

    outside = {
        "model.embed_tokens.weight": matrix(32000, 4096),
        "lm_head.weight": matrix(32000, 4096),
        "model.norm.weight": torch.ones(4096, dtype=torch.bfloat16),
    }
    shards = [outside]
    for block in range(33):
        file = f"model-{block + 1:05d}-of-00033.safetensors"
        if block:
            prefix = f"model.layers.{block - 1}"
            shards.append({f"{prefix}.{n}.weight": matrix(*s) for n, s in BLOCK.items()})
            for norm in ("input_layernorm", "post_attention_layernorm"):
                shards[-1][f"{prefix}.{norm}.weight"] = torch.ones(4096, dtype=torch.bfloat16)
        save_file(shards[-1], directory / file, metadata={"format": "pt"})
        shards[-1] = dict.fromkeys(shards[-1], file)
    weight_map = {name: file for shard in shards for name, file in shard.items()}
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    (directory / "config.json").write_text(json.dumps(CONFIG))


def quantize(source: Path, out: Path, *flags: str) -> None:
    """Run the command line in its own process and print what it took."""
    command = [sys.executable, "-m", "tersor", "quantize", str(source), "-o", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([*command, "--recipe", "w4", "--group-size", "128", *flags], check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    print(
        f"flags {flags}: {size / 1e9:.3f} GB on disk, peak {after.ru_maxrss / 1e6:.2f} GB resident "
        f"(largest so far), {wall:.0f} s wall, "
        f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.0f} s of CPU"
    )
    shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = arguments.out / "llama-7b-shaped"
    if not (source / "config.json").exists():
        make_model(source)
    total = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    print(f"source {total / 1e9:.2f} GB")
    quantize(source, arguments.out / "w4")
    quantize(source, arguments.out / "w4-all", "--include", "embed_tokens", "--include", "lm_head")


if __name__ == "__main__":
    main()
