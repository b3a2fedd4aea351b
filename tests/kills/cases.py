"""What is run: tiny models, recipes of every way through the pipeline, every kind of output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from calibrating import BUDGET, save_model, small, text_of
from every_architecture import save_every
from tersor.api.quantizing import quantize
from tersor.checkpoints.output import writer
from tersor.recipes import Recipe, load_recipe
from tersor.training import Distill, Optq


@dataclass(frozen=True)
class Case:
    """One way to quantize the model of a family."""

    recipe: Callable[[], Recipe]
    format: str | None = None
    family: str = "llama"
    shard_bytes: int = 2**29
    small_weights: bool = False
    shape: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self, directory: Path) -> None:
        """Make ``directory/model`` and the text beside it."""
        if self.family == "llama":
            save_model(self.family, directory / "model", **{"num_hidden_layers": 4, **self.shape})
        else:
            save_every(self.family, directory / "model")
        if self.format == "gguf":
            _save_bytes(directory / "model")
        if self.small_weights:
            _shrink(directory / "model" / "model.safetensors")

    def run(self, directory: Path, out: Path, *, resume: bool) -> None:
        """Quantize into ``out``, on one core: forked processes have no threads of before."""
        torch.set_num_threads(1)
        defaults = writer.ShardWriter.__init__.__kwdefaults__
        assert defaults is not None
        defaults["max_shard_bytes"] = self.shard_bytes
        recipe, model = self.recipe(), directory / "model"
        texts = [text_of(model)] if recipe.needs_calibration else []
        quantize(model, out, recipe, calibration=texts, format=self.format, resume=resume)


def _save_bytes(model: Path) -> None:
    """A tokenizer of a kind that GGUF knows."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: code for code, one in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(model)


def _shrink(file: Path) -> None:
    """Weights whose scales float16 cannot hold, in every second block."""
    tensors = {name: t.half() for name, t in load_file(file).items()}
    for name, tensor in tensors.items():
        if "proj" in name and ("layers.1." in name or "layers.3." in name):
            tensor.mul_(1e-4)
    save_file(tensors, file, metadata={"format": "pt"})


def _trained() -> Recipe:
    return small("gptq", training=Distill(tokens=256, batch=64))


def _gguf() -> Recipe:
    return replace(load_recipe("gguf-q4_0"), calibration=BUDGET)


_WIDE = {
    **{"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 24},
    **{"num_key_value_heads": 2, "tie_word_embeddings": True, "vocab_size": 300},
}
CASES = {
    "gptq": Case(lambda: small("gptq")),
    "gptaq": Case(lambda: small("gptaq")),
    "nearest": Case(lambda: small("w4")),
    "shards": Case(lambda: small("awq-gptq"), shard_bytes=20_000),
    "static": Case(lambda: small("w8a8-static")),
    "learned": Case(lambda: small("gptaq", rounding=Optq(iterations=20, tokens=64, checks=1))),
    "trained": Case(_trained),
    "gguf": Case(_gguf, format="gguf", shape=_WIDE),
    "small": Case(lambda: small("gptq"), small_weights=True),
    "experts": Case(lambda: small("gptq"), family="qwen3_moe"),
    "apart": Case(lambda: small("gptq"), family="gemma3n_text"),
    "shared": Case(lambda: small("gptq"), family="gemma4_text"),
}
