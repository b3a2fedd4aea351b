"""Tiny random models of every family tersor has a table for, built by transformers.

Sizes are chosen to tell axes apart and to be ragged for groups of 64 and 128: hidden 64,
intermediate 160 (96 per expert), 4 heads, 2 key-value heads where the family groups queries,
head_dim 24 (≠ 64 / 4) where the family stores it. Norm weights and biases are random too, because
ones and zeros would hide mistakes.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 128

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LLAMA = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 160}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2}
_MOE = {"num_experts_per_tok": 2}

_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _LLAMA),
    "mistral": ("MistralConfig", _LLAMA),
    "qwen2": ("Qwen2Config", _LLAMA),
    "qwen3": ("Qwen3Config", {**_LLAMA, "head_dim": 24}),
    "gemma2": ("Gemma2Config", {**_LLAMA, "head_dim": 24}),
    "gemma3_text": ("Gemma3TextConfig", {**_LLAMA, "head_dim": 24}),
    "phi3": ("Phi3Config", _LLAMA),
    "opt": ("OPTConfig", {**_COMMON, "ffn_dim": 160, "word_embed_proj_dim": 64}),
    "gpt2": ("GPT2Config", {**_GPT2, **_TOKENS, "n_inner": 160}),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "intermediate_size": 160}),
    "mixtral": ("MixtralConfig", {**_LLAMA, **_MOE, "num_local_experts": 4}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {**_LLAMA, **_MOE, "head_dim": 24, "num_experts": 4, "moe_intermediate_size": 96},
    ),
}

FAMILIES = tuple(_CONFIGS)

# No square and no power of two: a width's root is no float, halves of heads are odd, and nothing
# is a multiple of what vectors hold. Overrides for ``tiny`` and ``save_tiny``.
_ODD = {
    "vocab_size": 131,
    "hidden_size": 60,
    "intermediate_size": 156,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 130,
}
_ODD_HEADS = {**_ODD, "head_dim": 14}
_ODD_GEMMA = {**_ODD_HEADS, "query_pre_attn_scalar": 11, "num_hidden_layers": 3}
ODD: dict[str, dict[str, Any]] = {
    "llama": _ODD,
    "mistral": {**_ODD, "sliding_window": 7},
    "qwen2": _ODD,
    "qwen3": _ODD_HEADS,
    "gemma2": {**_ODD_GEMMA, "sliding_window": 7, "attn_logit_softcapping": 3.0},
    "gemma3_text": {**_ODD_GEMMA, "sliding_window": 7, "sliding_window_pattern": 3},
    "phi3": {**_ODD, "intermediate_size": 176},
}


def tiny(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A random fp32 model in eval mode; ``overrides`` go to its config."""
    config_class, settings = _CONFIGS[family]
    config = getattr(transformers, config_class)(**{**settings, **overrides})
    return randomized(transformers.AutoModelForCausalLM.from_config(config), seed)


def randomized(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """The model with every parameter drawn anew: activations stay near unit size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(0.2 * noise)
    return model.float().eval()


def save_tiny(
    family: str, directory: Path | str, seed: int = 0, *, fused: bool = False, **overrides: Any
) -> PreTrainedModel:
    """Write ``tiny(...)`` as a Hugging Face directory and return it.

    ``fused`` writes the tensors as they are in memory (stacked experts), as transformers does for
    a model that was loaded from such a file.
    """
    model = tiny(family, seed, **overrides)
    model.save_pretrained(directory, save_original_format=not fused)
    return model


def save_tokenizer(directory: Path | str) -> None:
    """Write a tokenizer beside a tiny model: every ASCII character is a token, by its code."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {chr(code): code for code in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=chr(0)))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=chr(0))
    fast.save_pretrained(directory)


def save_text(path: Path, characters: int, seed: int = 0) -> Path:
    """Write random characters, each of which is one token, and return the path."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(33, 127, (characters,), generator=generator).tolist()
    path.write_text("".join(map(chr, codes)), encoding="utf-8")
    return path


def tokens(seed: int = 0, batch: int = 4, length: int = 24) -> torch.Tensor:
    """Random token ids ``(batch, length)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)


def logits_of(engine: Any, tokens: list[int], **options: Any) -> torch.Tensor:
    """What :meth:`Engine.logits` returns, as a tensor."""
    return torch.from_numpy(engine.logits(tokens, **options))
