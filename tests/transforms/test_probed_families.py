"""Families without a table: scales and rotations found by numbers keep what a model computes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import probed_families
import tiny_models
from tersor.checkpoints.opening import open_source
from tersor.checkpoints.source import Source
from tersor.errors import SourceError
from tersor.models.architecture import Architecture
from tersor.models.describing import describe
from tersor.models.folding import fold
from tersor.models.pairs import input_groups, pairs
from tersor.models.probing import probed
from tersor.transforms import Rotation, rotated

# Consumers of the pairs of each block: q is q, k, v; o behind v; g is gate and up; d behind up.
PAIRS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("ministral", "ministral3", "smollm3", "granite", "glm", "glm4", "ernie4_5", "seed_oss",
         "hunyuan_v1_dense", "stablelm"), ("qogd", "qogd")),
    **dict.fromkeys(("exaone4", "olmo2", "olmo3"), ("od", "od")),  # norms come after
    "cohere2": ("qod", "qod"),  # one norm for attention and MLP
    **dict.fromkeys(("starcoder2", "nemotron", "apertus"), ("qog", "qog")),  # no gate
    # The last of the experts' pairs lies in each of four.
    "qwen2_moe": ("qogddddd", "qogddddd"),  # and in the shared expert
    "glm4_moe": ("qogd", "qogddddd"),  # the first block is dense
    "olmoe": ("qogdddd", "qogdddd"),
    "qwen3_5_text": ("qgd", "qogd"),  # a delta net first: its output norm works by heads
}  # fmt: skip
SANDWICH = ("exaone4", "glm4", "olmo2", "olmo3")


@dataclass(frozen=True)
class Checkpoint:
    source: Source
    tensors: dict[str, Tensor]
    architecture: Architecture
    directory: Path
    logits: Tensor

    def change_of_logits(self, config: Any, tensors: Mapping[str, Tensor]) -> float:
        """max |Δ logits| / max |logits| of what transformers loads from these."""
        directory = self.directory.with_name("changed")
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
        named = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        save_file(named, directory / "model.safetensors", metadata={"format": "pt"})
        with torch.no_grad():
            after = probed_families.reloaded(directory)(tiny_models.tokens()).logits
        return float((after - self.logits).abs().max() / self.logits.abs().max())


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """Family → its checkpoint, built once."""

    @cache
    def build(family: str) -> Checkpoint:
        directory = tmp_path_factory.mktemp(family) / "model"
        model = probed_families.save_probed(family, directory)
        source = open_source(directory)
        tensors = {name: t.float() for name, t in source.read(source.tensors).items()}
        shapes = {name: info.shape for name, info in source.tensors.items()}
        found = probed(describe(source.config, shapes), source.config, shapes)
        with torch.no_grad():
            logits = model(tiny_models.tokens()).logits
        return Checkpoint(source, tensors, found, directory, logits)

    return build


def kind(consumer: str) -> str:
    leaf = consumer.removesuffix(".weight").rpartition(".")[2]
    if leaf.startswith("in_proj") or leaf[:2] in ("q_", "k_", "v_"):
        return "q"
    return {"o_proj": "o", "down_proj": "d", "c_proj": "d"}.get(leaf, "g")


@pytest.mark.parametrize("family", list(probed_families.FAMILIES))
def test_folding_every_pair_keeps_the_logits(
    family: str, load: Callable[[str], Checkpoint]
) -> None:
    checkpoint = load(family)
    assert "pairs are not from a table" in checkpoint.architecture.note
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    generator = torch.Generator().manual_seed(0)
    tensors, found = dict(checkpoint.tensors), []
    for block in range(checkpoint.architecture.blocks):
        for pair in pairs(checkpoint.architecture, shapes, block):
            scale = 0.5 + 1.5 * torch.rand(pair.channels, generator=generator)
            tensors |= fold(tensors, pair, scale)
            found.append((block, kind(pair.consumers[0])))
    expected = [(block, k) for block, kinds in enumerate(PAIRS[family]) for k in kinds]
    assert sorted(found) == sorted(expected)
    assert checkpoint.change_of_logits(checkpoint.source.config, tensors) <= 1e-4


@pytest.mark.parametrize("family", list(probed_families.FAMILIES))
def test_a_rotation_keeps_the_logits(family: str, load: Callable[[str], Checkpoint]) -> None:
    checkpoint = load(family)
    turned = rotated(checkpoint.source, Rotation())
    tensors = turned.read(turned.tensors)
    assert checkpoint.change_of_logits(turned.config, tensors) <= 1e-4
    changed = {n for n, t in checkpoint.tensors.items() if not torch.equal(tensors[n], t)}
    assert any("o_proj" in name for name in changed)
    moved = "model.embed_tokens.weight" in changed
    assert moved == (family not in SANDWICH)
    assert any("residual stream" in note for note in turned.notes) == (family in SANDWICH)


def test_values_behind_a_gate_are_scaled_and_never_rotated(
    load: Callable[[str], Checkpoint],
) -> None:
    # Qwen 3.5 multiplies what attention returns by a gate, channel by channel.
    checkpoint = load("qwen3_5_text")
    turned = rotated(checkpoint.source, Rotation(residual=False))
    tensors = turned.read(turned.tensors)
    assert all(torch.equal(tensors[n].float(), t) for n, t in checkpoint.tensors.items())


def test_norms_inside_latent_attention_scale_but_do_not_rotate(
    load: Callable[[str], Checkpoint],
) -> None:
    checkpoint = load("deepseek_v3")
    producers = {s.producer: s.inner for s in checkpoint.architecture.shared_inputs}
    assert producers["self_attn.q_a_layernorm"]
    assert producers["self_attn.kv_a_layernorm"]
    assert not producers["input_layernorm"]
    turned = rotated(checkpoint.source, Rotation())
    tensors = turned.read(turned.tensors)
    name = "model.layers.0.self_attn.q_a_layernorm.weight"
    assert torch.equal(tensors[name].float(), checkpoint.tensors[name])
    assert checkpoint.change_of_logits(turned.config, tensors) <= 1e-4


def test_what_experts_add_besides_forbids_a_rotation(load: Callable[[str], Checkpoint]) -> None:
    # gpt-oss's experts have biases in stacks of their own, which nobody rotates.
    with pytest.raises(SourceError, match=r"gpt_oss passes through more than .*residual: false"):
        rotated(load("gpt_oss").source, Rotation())


def test_linears_that_read_the_same_rows_are_a_group(load: Callable[[str], Checkpoint]) -> None:
    checkpoint = load("cohere2")
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    groups = input_groups(checkpoint.architecture, shapes, 1)
    leaves = [[name.split(".")[-2] for name in group] for group in groups]
    assert leaves[0] == ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    assert sorted(leaves[1:]) == [["down_proj"], ["o_proj"]]


def test_the_same_is_found_again_and_by_any_number_of_threads(
    load: Callable[[str], Checkpoint],
) -> None:
    checkpoint = load("granite")
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    config = checkpoint.source.config
    state = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert probed(describe(config, shapes), config, shapes) == checkpoint.architecture
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)
