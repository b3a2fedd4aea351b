"""Tiny checkpoints of every family with what their linears read, and how much logits change."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

import tiny_models
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source, TensorInfo
from tersor.grids import Granularity, IntegerGrid, Symmetry, TensorScheme
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.experts import fuse
from tersor.models.pairs import Pair, pairs
from tersor.ranges import MinMax
from tersor.transforms import RoundTrip

torch.set_num_threads(1)

CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    **{family: (family, False, {}) for family in tiny_models.FAMILIES},
    "llama-biases": ("llama", False, {"attention_bias": True, "mlp_bias": True}),
    "llama-tied": ("llama", False, {"tie_word_embeddings": True}),
    "llama-odd": ("llama", False, {"hidden_size": 72, "head_dim": 18}),
    "opt-post-norm": ("opt", False, {"do_layer_norm_before": False}),
    "opt-gelu": ("opt", False, {"activation_function": "gelu"}),
    "opt-no-biases": ("opt", False, {"enable_bias": False}),
    "opt-bare-norms": ("opt", False, {"layer_norm_elementwise_affine": False}),
    "opt-projected": ("opt", False, {"word_embed_proj_dim": 32}),
    "gpt_neox-sequential": ("gpt_neox", False, {"use_parallel_residual": False}),
    "mixtral-fused": ("mixtral", True, {}),
    "qwen3_moe-fused": ("qwen3_moe", True, {}),
    "qwen3_moe-one-dense": ("qwen3_moe", False, {"mlp_only_layers": [0]}),
}


@dataclass(frozen=True)
class Checkpoint:
    """A tiny model on disk; ``inputs``: module name → rows it reads, ``(tokens, in)``."""

    model: PreTrainedModel
    source: Source
    tensors: dict[str, Tensor]
    architecture: Architecture
    inputs: dict[str, Tensor]
    ids: Tensor = field(default_factory=tiny_models.tokens)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def pairs(self) -> list[Pair]:
        blocks = range(self.architecture.blocks)
        return [p for block in blocks for p in pairs(self.architecture, self.shapes, block)]

    def read_by(self, pair: Pair) -> Tensor:
        """The rows ``(tokens, in)`` that the consumers of a pair read."""
        return self.inputs[pair.consumers[0].removesuffix(".weight")]

    def change_of_logits(self, config: Any, tensors: dict[str, Tensor]) -> float:
        """max |Δ logits| / max |logits| of a model built anew from ``config`` and ``tensors``."""
        other = built(config, fuse(self.architecture, tensors))
        with torch.no_grad():
            before, after = self.model(self.ids).logits, other(self.ids).logits
        return float((after - before).abs().max() / before.abs().max())


def built(config: Any, tensors: dict[str, Tensor]) -> PreTrainedModel:
    """transformers' model for a config, filled with nothing but the given tensors."""
    settings = {key: value for key, value in config.items() if key != "model_type"}
    typed = AutoConfig.for_model(config["model_type"], **settings)
    model = AutoModelForCausalLM.from_config(typed).float().eval()
    named = {_in_memory(model, name): tensor.float() for name, tensor in tensors.items()}
    loaded = model.load_state_dict(named, strict=False)
    assert not loaded.unexpected_keys
    tied = {"lm_head.weight"} if typed.tie_word_embeddings else set()
    assert set(loaded.missing_keys) <= tied
    model.tie_weights()
    return model


def _in_memory(model: nn.Module, name: str) -> str:
    """The head of GPT-NeoX is called embed_out on disk and lm_head in memory."""
    return name.replace("embed_out.", "lm_head.") if hasattr(model, "lm_head") else name


def recorded_inputs(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Module name → the rows ``(tokens, in)`` that each linear reads."""
    inputs: dict[str, Tensor] = {}

    def listener(name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs[name] = arguments[0].flatten(0, -2)

        return note

    handles = [
        module.register_forward_pre_hook(listener(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return inputs


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """Case name → its checkpoint, built once."""

    @cache
    def build(case: str) -> Checkpoint:
        family, fused, overrides = CASES[case]
        directory = tmp_path_factory.mktemp(case)
        model = tiny_models.save_tiny(family, directory, fused=fused, **overrides)
        source = open_source(directory)
        tensors = source.read(source.tensors)
        shapes = {name: info.shape for name, info in source.tensors.items()}
        inputs = recorded_inputs(model, tiny_models.tokens(seed=1))
        return Checkpoint(model, source, tensors, describe(source.config, shapes), inputs)

    return build


@dataclass(frozen=True)
class FirstBlocks:
    """A source cut off after two blocks: a model of its own, built in a fraction of the time."""

    whole: Source

    @property
    def path(self) -> Path:
        return self.whole.path

    @property
    def config(self) -> dict[str, Any]:
        return {**self.whole.config, "num_hidden_layers": 2}

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        tensors = self.whole.tensors.items()
        later = re.compile(r"\.layers\.([2-9]|\d\d)\.")
        return {name: info for name, info in tensors if not later.search(name)}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        return self.whole.read(names)

    def copy_companions(self, directory: Path) -> tuple[str, ...]:
        return self.whole.copy_companions(directory)


@pytest.fixture(scope="session")
def real(smollm2: Path) -> Checkpoint:
    """Two blocks of the real model, in fp32."""
    source = FirstBlocks(open_source(smollm2))
    tensors = {name: tensor.float() for name, tensor in source.read(source.tensors).items()}
    shapes = {name: info.shape for name, info in source.tensors.items()}
    model = built(source.config, tensors)
    ids = torch.tensor([[1, 504, 2365, 282, 4649, 314, 260, 3575, 30, 198] * 4])
    inputs = recorded_inputs(model, ids)
    return Checkpoint(model, source, tensors, describe(source.config, shapes), inputs, ids)


@pytest.fixture
def int4() -> RoundTrip:
    """4 bits in groups of 16, asymmetric."""
    grid = IntegerGrid(4, Symmetry.NONE)
    return RoundTrip(TensorScheme(grid, Granularity.GROUP, 16), MinMax(), torch.float32)


@pytest.fixture
def int8() -> RoundTrip:
    """8 bits per output channel."""
    return RoundTrip(TensorScheme(IntegerGrid(8), Granularity.CHANNEL), MinMax(), torch.float32)
