"""Recipes on tiny models with a budget that fits them, and what the artifact became."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

import tersor
from tersor.calibration.precision import Precision
from tersor.calibration.text import windows
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.checkpoints.opening import open_source
from tersor.models.architecture import Architecture, Role
from tersor.models.describing import describe
from tersor.models.experts import fuse
from tersor.pipeline.result import QuantizeResult
from tersor.ranges import ImportanceWeighted
from tersor.recipes import Adjustments, Calibration, Recipe, load_recipe
from tersor.runtime.artifact import open_artifact
from tiny_models import save_text, save_tiny, save_tokenizer

WINDOW = 32
BUDGET = Calibration(tokens=9 * WINDOW, window=WINDOW, precision=Precision.FLOAT32)
GROUPS = Adjustments(group_size=16)


def small(recipe: str | Recipe, **changes: Any) -> Recipe:
    """A preset in groups of 16, if it has groups, with a budget and searches for tiny models."""
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if chosen.scheme.weights.group_size is not None:
        chosen = GROUPS.apply(chosen)
    if isinstance(chosen.range, ImportanceWeighted):
        chosen = replace(chosen, range=ImportanceWeighted(steps=12))
    if chosen.scaling is not None:
        chosen = replace(chosen, scaling=replace(chosen.scaling, steps=6))
    return replace(chosen, **{"calibration": BUDGET, **changes})


def save_model(family: str, directory: Path, **overrides: Any) -> PreTrainedModel:
    """A tiny model with a tokenizer, and a calibration text beside its directory."""
    model = save_tiny(family, directory, **overrides)
    save_tokenizer(directory)
    save_text(text_of(directory), BUDGET.tokens)
    return model


def text_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.txt")


def quantize(directory: Path, out: Path, recipe: Recipe, **options: Any) -> QuantizeResult:
    texts = [text_of(directory)] if recipe.needs_calibration else []
    return tersor.quantize(directory, out, recipe, calibration=texts, **options)


def calibration_tokens(directory: Path) -> Tensor:
    """The windows that calibration runs through a model of ``save_model``."""
    text = text_of(directory).read_text()
    return windows(load_tokenizer(directory), text, WINDOW, BUDGET.tokens // WINDOW)


def logits(model: Any, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(tokens, use_cache=False).logits
    return found


def original(directory: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval()


def dense(directory: Path) -> dict[str, Tensor]:
    """Every tensor of an artifact or of a model, dequantized, fp32, by name on disk."""
    if (directory / "tersor.json").exists():
        return dict(open_artifact(directory).dense(torch.float32))
    return load_file(directory / "model.safetensors")


def linears(directory: Path) -> list[str]:
    """Names of the linears in the blocks of a model, one for each expert."""
    architecture = _architecture(directory)
    shapes = {n: tuple(t.shape) for n, t in dense(directory).items()}
    return [n for n in shapes if architecture.role(n, shapes[n]) is Role.LINEAR]


def _architecture(directory: Path) -> Architecture:
    source = open_source(directory)
    return describe(source.config, {name: info.shape for name, info in source.tensors.items()})


def restored(directory: Path, artifact: Path) -> PreTrainedModel:
    """The model with the artifact's dequantized weights; activations are not rounded."""
    model = original(directory)
    stored = dense(artifact)
    if "embed_out.weight" in stored:  # GPT-NeoX, on disk
        stored["lm_head.weight"] = stored.pop("embed_out.weight")
    parts = fuse(_architecture(directory), stored)
    wrong = model.load_state_dict(parts, strict=False).unexpected_keys
    assert not wrong, wrong
    return model


def inputs_of(model: Any, names: Iterable[str], tokens: Tensor) -> dict[str, Tensor]:
    """Rows ``(tokens, in)`` that reach linear modules, by the names of their weights.

    Before activation quantization, if the model simulates that.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    for name in names:

        def see(_: Any, args: Any, name: str = name) -> None:
            seen[name] = args[0].reshape(-1, args[0].shape[-1]).clone()

        linear = model.get_submodule(name.removesuffix(".weight"))
        handles.append(linear.register_forward_pre_hook(see, prepend=True))
    logits(model, tokens)
    for handle in handles:
        handle.remove()
    return seen


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch with that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
