"""What is sound before it is damaged: tiny models in every form."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import tersor
from tiny_models import save_text, save_tiny, save_tokenizer

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
# Widths that groups of 64 divide, so that artifacts are in compressed-tensors.
_EVEN = {"intermediate_size": 128, "num_hidden_layers": 1}


def model(folder: Path, family: str = "llama", **overrides: Any) -> Path:
    """A tiny model with a tokenizer in ``folder``, beside a text to score; one block."""
    directory = folder / "model"
    settings = {"n_layer": 1} if family == "gpt2" else {"num_hidden_layers": 1}
    save_tiny(family, directory, **{**settings, **overrides})
    save_tokenizer(directory)
    save_text(folder / "text.txt", 300)
    return directory


def talkative(folder: Path) -> Path:
    """A tiny model with a chat template."""
    directory = model(folder)
    (directory / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return directory


def artifact(
    folder: Path, recipe: str, family: str = "llama", format_name: str | None = None
) -> Path:
    """A tiny model quantized by a preset, in a format that is asked for or the first that fits."""
    original = model(folder / "original", family, **(_EVEN if family == "llama" else {}))
    directory = folder / "model"
    text = save_text(folder / "text.txt", 300)
    small = {"tokens": 64, "window": 16}
    chosen = tersor.load_recipe(recipe)
    tersor.quantize(
        original,
        directory,
        chosen,
        **(small if chosen.needs_calibration else {}),
        calibration=[text] if chosen.needs_calibration else [],
        format=format_name,
    )
    for path in sorted((folder / "original").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "original").rmdir()
    return directory


def sharded(folder: Path) -> Path:
    """A tiny model in several shards."""
    directory = model(folder)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    index: dict[str, str] = {}
    for number in range(3):
        shard = f"model-0000{number + 1}-of-00003.safetensors"
        held = names[number::3]
        save_file({name: tensors[name] for name in held}, directory / shard, {"format": "pt"})
        index |= dict.fromkeys(held, shard)
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    )
    return directory


def adapted(folder: Path) -> Path:
    """A tiny model with a LoRA adapter in its directory."""
    directory = model(folder)
    tensors = {}
    for module, rows in (("self_attn.q_proj", 64), ("mlp.up_proj", 160)):
        name = f"base_model.model.model.layers.0.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(3, 64)
        tensors[f"{name}.lora_B.weight"] = torch.randn(rows, 3)
    save_file(tensors, directory / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"up_proj": 3}, "alpha_pattern": {"up_proj": 2}, "bias": "none",
        "init_lora_weights": True, "use_rslora": False, "fan_in_fan_out": False,
    }  # fmt: skip
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    return directory


def published(folder: Path) -> Path:
    """A tiny model in FP8 with a scale for every block of 32 × 32."""
    directory = model(folder)
    tensors = {}
    for name, weight in load_file(directory / "model.safetensors").items():
        tensors[name] = weight.bfloat16()
        if "_proj" in name:
            rows, columns = weight.shape
            tensors[name] = weight.to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = torch.ones(-(-rows // 32), -(-columns // 32))
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    settings = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [32, 32]}
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = settings | {"activation_scheme": "dynamic"}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def pickled(folder: Path) -> Path:
    """A tiny model in a pickle."""
    directory = model(folder)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    return directory
