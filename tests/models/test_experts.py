"""Fused experts apart and together again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import tiny_models
from tersor.errors import SourceError
from tersor.models.architecture import Role
from tersor.models.experts import fuse, unfuse, unfused_shapes

MOE = ["mixtral-fused", "qwen3_moe-fused"]


@pytest.mark.parametrize("case", MOE)
def test_fused_tensors_have_their_role(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    fused = {
        name
        for name, shape in checkpoint.shapes.items()
        if checkpoint.architecture.role(name, shape) is Role.FUSED_EXPERTS
    }
    assert fused == {
        f"model.layers.{block}.mlp.experts.{name}"
        for block in (0, 1)
        for name in ("gate_up_proj", "down_proj")
    }


@pytest.mark.parametrize("case", MOE)
def test_unfused_equals_what_transformers_writes(case: str, load: Callable[[str], Any]) -> None:
    published = load(case).published()
    written = load(case.removesuffix("-fused")).tensors
    assert published.keys() == written.keys()
    assert all(torch.equal(published[name], written[name]) for name in written)


@pytest.mark.parametrize("case", MOE)
def test_fuse_is_the_inverse(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    again = fuse(checkpoint.architecture, checkpoint.published())
    assert again.keys() == checkpoint.tensors.keys()
    assert all(torch.equal(again[name], checkpoint.tensors[name]) for name in again)


@pytest.mark.parametrize("case", MOE)
def test_shapes_say_what_the_tensors_will_be(case: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    for name, tensor in checkpoint.tensors.items():
        planned = unfused_shapes(checkpoint.architecture, name, tuple(tensor.shape))
        parts = unfuse(checkpoint.architecture, name, tensor)
        assert list(planned) == list(parts)
        assert {n: tuple(part.shape) for n, part in parts.items()} == planned


def test_parts_are_views(load: Callable[[str], Any]) -> None:
    checkpoint = load("qwen3_moe-fused")
    tensor = checkpoint.tensors["model.layers.0.mlp.experts.gate_up_proj"]
    parts = unfuse(checkpoint.architecture, "model.layers.0.mlp.experts.gate_up_proj", tensor)
    storage = tensor.untyped_storage().data_ptr()
    assert {part.untyped_storage().data_ptr() for part in parts.values()} == {storage}
    assert all(part.is_contiguous() for part in parts.values())


@pytest.mark.parametrize("case", MOE)
def test_transformers_reads_the_unfused_checkpoint(
    case: str, load: Callable[[str], Any], tmp_path: Any
) -> None:
    checkpoint = load(case)
    copies = {name: tensor.clone() for name, tensor in checkpoint.published().items()}
    save_file(copies, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = (checkpoint.directory / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = tiny_models.tokens()
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, checkpoint.model(ids).logits)


def test_rows_that_do_not_divide(load: Callable[[str], Any]) -> None:
    architecture = load("mixtral-fused").architecture
    with pytest.raises(SourceError, match=r"gate_up_proj has 161 rows"):
        unfused_shapes(architecture, "model.layers.0.mlp.experts.gate_up_proj", (4, 161, 64))


def test_an_expert_that_lacks_a_part(load: Callable[[str], Any]) -> None:
    checkpoint = load("mixtral")
    tensors = dict(checkpoint.tensors)
    del tensors["model.layers.1.block_sparse_moe.experts.2.w3.weight"]
    with pytest.raises(SourceError, match=r"experts\.2\.w3\.weight is missing"):
        fuse(checkpoint.architecture, tensors)


def test_a_missing_expert(load: Callable[[str], Any]) -> None:
    checkpoint = load("qwen3_moe")
    tensors = {n: t for n, t in checkpoint.tensors.items() if ".1.mlp.experts.2." not in n}
    with pytest.raises(SourceError, match=r"experts\.3\.\w+\.weight has no expert before it"):
        fuse(checkpoint.architecture, tensors)


def test_dense_models_pass_through(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama")
    assert checkpoint.published().keys() == checkpoint.tensors.keys()
    assert fuse(checkpoint.architecture, checkpoint.tensors) == checkpoint.tensors
