"""GGUF files for tests: what llama.cpp's converter does to a Hugging Face directory.

Tensor names come from gguf's own tables, so that ours are checked against them.
"""

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

# GGUF architecture, by transformers' model_type.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "gpt2": "gpt2",
}
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(\w+)\.weight")
_TRANSPOSED = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


def write_gguf(
    directory: Path,
    path: Path,
    *,
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    drop: tuple[str, ...] = (),
    blocks: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType]] | None = None,
) -> Path:
    """Convert a Hugging Face directory; matrices are stored as ``kind``, vectors as F32.

    ``metadata`` is added (or replaces: a value of None leaves a key out), ``extra`` tensors are
    appended, ``blocks`` too, which are quantized already; tensors named in ``drop`` (by GGUF name)
    are left out.
    """
    config = json.loads((directory / "config.json").read_text())
    arch = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, arch)
    for key, value in {**_hyperparameters(arch, config), **(metadata or {})}.items():
        _add(writer, key, value)
    for name, tensor in _converted(directory, arch, config).items():
        if name not in drop:
            values = tensor.numpy()
            as_is = values.ndim == 1 or kind == gguf.GGMLQuantizationType.F32
            data = values if as_is else _blocks(values, kind)
            writer.add_tensor(name, data, raw_dtype=None if as_is else kind)
    for name, data in (extra or {}).items():
        writer.add_tensor(name, data)
    for name, (data, of) in (blocks or {}).items():
        writer.add_tensor(name, data, raw_dtype=of)
    return finish(writer, path)


# Where the float16 numbers of a block begin, for types that the gguf package does not quantize.
_HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,)}
_HALVES |= dict.fromkeys(("Q4_K", "Q5_K"), (0, 2))


def _blocks(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """Values quantized; where only llama.cpp does that, random blocks whose values are as large."""
    if kind.name not in _HALVES:
        return gguf.quants.quantize(values, kind)
    size, nbytes = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(values.size)
    blocks = random.integers(0, 256, (values.size // size, nbytes), np.uint8)
    for first in _HALVES[kind.name]:
        numbers = random.uniform(0.5, 1, (len(blocks), 1)).astype(np.float16)
        blocks[:, first : first + 2] = numbers.view(np.uint8)
    found = gguf.dequantize(blocks, kind)
    for first in _HALVES[kind.name]:
        numbers = blocks[:, first : first + 2].copy().view(np.float16)
        smaller = (numbers * (values.std() / found.std())).astype(np.float16)
        blocks[:, first : first + 2] = smaller.view(np.uint8)
    return blocks.reshape(*values.shape[:-1], -1)


def finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bpe_metadata(pre: str) -> dict[str, Any]:
    """A byte-level vocabulary of all bytes and a few merges, as ``tokenizer.ggml.*``."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = [chr(byte) for byte in printable] + [
        chr(256 + i) for i in range(256 - len(printable))
    ]
    tokens = ["<eos>", "<turn>", *spelled, "ĊĊ", "he", "hel"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": ["Ċ Ċ", "h e", "he l"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.chat_template": "{{ messages[0]['content'] }}",
    }


def sentencepiece_metadata() -> dict[str, Any]:
    """A sentencepiece vocabulary of all bytes and a few pieces, as ``tokenizer.ggml.*``."""
    pieces = ["▁", "h", "e", "l", "o", "he", "hel", "hello", "▁hello"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * len(pieces),
        "tokenizer.ggml.scores": [0.0] * 259 + [-1.0 - i for i in range(len(pieces))],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _hyperparameters(arch: str, config: dict[str, Any]) -> dict[str, Any]:
    names = {
        "block_count": ("num_hidden_layers", "n_layer"),
        "context_length": ("max_position_embeddings", "n_positions"),
        "embedding_length": ("hidden_size", "n_embd"),
        "feed_forward_length": ("intermediate_size", "n_inner"),
        "attention.head_count": ("num_attention_heads", "n_head"),
        "attention.head_count_kv": ("num_key_value_heads",),
        "attention.key_length": ("head_dim",),
        "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
        "attention.layer_norm_epsilon": ("layer_norm_epsilon",),
        "attention.sliding_window": ("sliding_window",),
        "expert_count": ("num_local_experts", "num_experts"),
        "expert_used_count": ("num_experts_per_tok",),
        "expert_feed_forward_length": ("moe_intermediate_size",),
        "attn_logit_softcapping": ("attn_logit_softcapping",),
        "final_logit_softcapping": ("final_logit_softcapping",),
        "vocab_size": ("vocab_size",),
    }
    found = {
        key: next((config[n] for n in keys if n in config), None) for key, keys in names.items()
    }
    rope = config.get("rope_parameters") or {}
    found["rope.freq_base"] = rope.get("full_attention", rope).get("rope_theta")
    if arch == "llama":
        found["rope.dimension_count"] = config["head_dim"]
    tokens = {
        f"tokenizer.ggml.{key}": config.get(name)
        for key, name in (
            ("bos_token_id", "bos_token_id"),
            ("eos_token_id", "eos_token_id"),
            ("padding_token_id", "pad_token_id"),
        )
    }
    return {**{f"{arch}.{key}": value for key, value in found.items()}, **tokens}


def _converted(directory: Path, arch: str, config: dict[str, Any]) -> dict[str, Tensor]:
    """GGUF name → values, float32, as the converter would store them."""
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    blocks = config.get("num_hidden_layers", config.get("n_layer"))
    names = gguf.get_tensor_name_map(kind, blocks)
    stacks: dict[str, list[Tensor]] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in sorted(load_file(directory / "model.safetensors").items()):
        if match := _EXPERT.fullmatch(name):
            stacks.setdefault(f"{match[1]}.{match[3]}.weight", []).append(tensor)
            continue
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        result[target] = _stored(arch, name, tensor.float(), config)
    for name, tensors in stacks.items():
        result[names.get_name(name, try_suffixes=(".weight",))] = torch.stack(tensors).float()
    return result


def _stored(arch: str, name: str, tensor: Tensor, config: dict[str, Any]) -> Tensor:
    if arch == "llama" and ".q_proj." in name:
        return interleaved(tensor, config["num_attention_heads"])
    if arch == "llama" and ".k_proj." in name:
        return interleaved(tensor, config["num_key_value_heads"])
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return tensor + 1
    if arch == "gpt2" and name.endswith(_TRANSPOSED):
        return tensor.T.contiguous()
    return tensor


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Row by row: halves of each head → neighbouring pairs."""
    size = tensor.shape[0] // heads
    rows = [
        head * size + half * (size // 2) + i
        for head in range(heads)
        for i in range(size // 2)
        for half in range(2)
    ]
    return tensor[rows]
