"""Every family, and the variants of a config that change what may be folded, as saved to disk."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

import tiny_models
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.experts import unfuse

torch.set_num_threads(1)

CASES: dict[str, tuple[str, bool, dict[str, Any]]] = {
    **{family: (family, False, {}) for family in tiny_models.FAMILIES},
    "llama-biases": ("llama", False, {"attention_bias": True, "mlp_bias": True}),
    "llama-tied": ("llama", False, {"tie_word_embeddings": True}),
    "phi3-one-kv-head": ("phi3", False, {"num_key_value_heads": 1}),
    "opt-post-norm": ("opt", False, {"do_layer_norm_before": False}),
    "opt-gelu": ("opt", False, {"activation_function": "gelu"}),
    "opt-bare-norms": ("opt", False, {"layer_norm_elementwise_affine": False}),
    "gpt2-relu": ("gpt2", False, {"activation_function": "relu"}),
    "gpt_neox-relu": ("gpt_neox", False, {"hidden_act": "relu"}),
    "gpt_neox-sequential": ("gpt_neox", False, {"use_parallel_residual": False}),
    "mixtral-fused": ("mixtral", True, {}),
    "qwen3_moe-fused": ("qwen3_moe", True, {}),
    "qwen3_moe-one-dense": ("qwen3_moe", False, {"mlp_only_layers": [0]}),
}


@dataclass(frozen=True)
class Checkpoint:
    """A tiny model and what is on disk of it."""

    model: PreTrainedModel
    directory: Path
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    architecture: Architecture

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def published(self) -> dict[str, torch.Tensor]:
        """The tensors with experts apart."""
        return {
            new: part
            for name, tensor in self.tensors.items()
            for new, part in unfuse(self.architecture, name, tensor).items()
        }


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """Case name → its checkpoint, built once."""

    @cache
    def build(case: str) -> Checkpoint:
        family, fused, overrides = CASES[case]
        directory = tmp_path_factory.mktemp(case)
        model = tiny_models.save_tiny(family, directory, fused=fused, **overrides)
        # One matrix product per expert, so that a test can see what each of them reads.
        model.set_experts_implementation("eager")
        config = json.loads((directory / "config.json").read_text())
        tensors = load_file(directory / "model.safetensors")
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        return Checkpoint(model, directory, config, tensors, describe(config, shapes))

    return build


@pytest.fixture(params=list(CASES))
def checkpoint(request: pytest.FixtureRequest, load: Callable[[str], Checkpoint]) -> Checkpoint:
    return load(request.param)
