"""Names as they occur in the wild: prefixes, multimodal checkpoints, buffers, holes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file

import tiny_models
from tersor.errors import SourceError
from tersor.families.registry import FAMILIES
from tersor.models.architecture import Role
from tersor.models.describing import describe
from tersor.models.pairs import pairs


def linears(architecture: Any, shapes: dict[str, tuple[int, ...]]) -> set[str]:
    return {n for n, shape in shapes.items() if architecture.role(n, shape) is Role.LINEAR}


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("gpt2", "transformer.", ""),
        ("opt", "model.decoder.", "decoder."),
        ("llama", "model.", ""),
        ("gemma3_text", "model.", "model.language_model."),
        ("gemma3_text", "model.", "language_model.model."),
    ],
)
def test_other_prefixes(case: str, old: str, new: str, load: Callable[[str], Any]) -> None:
    checkpoint = load(case)
    shapes = {
        (new + name.removeprefix(old) if name.startswith(old) else name): shape
        for name, shape in checkpoint.shapes.items()
    }
    usual, other = checkpoint.architecture, describe(checkpoint.config, shapes)
    assert other.known
    assert other.note == ""
    assert other.embedding is not None
    assert other.final_norm is not None
    assert other.blocks == usual.blocks
    assert linears(other, shapes) == {
        new + name.removeprefix(old) for name in linears(usual, checkpoint.shapes)
    }
    assert len(pairs(other, shapes, 1)) == len(pairs(usual, checkpoint.shapes, 1))


@pytest.mark.parametrize("original_format", [True, False])
def test_multimodal_gemma3(original_format: bool, tmp_path: Path, load: Any) -> None:
    text = {**load("gemma3_text").config}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=5
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    model.save_pretrained(tmp_path, save_original_format=original_format)
    tensors = load_file(tmp_path / "model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    architecture = describe(json.loads((tmp_path / "config.json").read_text()), shapes)
    assert architecture.known
    assert architecture.model_type == "gemma3_text"
    assert architecture.blocks == 2
    assert architecture.tied
    assert architecture.note == ""
    found = linears(architecture, shapes)
    assert len(found) == 14
    assert all("language_model" in name for name in found)
    assert len(pairs(architecture, shapes, 0)) == 4


def test_buffers_of_old_checkpoints_are_no_linears(load: Callable[[str], Any]) -> None:
    checkpoint = load("gpt2")
    buffers = {
        "transformer.h.0.attn.bias": (1, 1, 128, 128),
        "transformer.h.0.attn.masked_bias": (),
        "transformer.h.0.attn.rotary_emb.inv_freq": (8,),
    }
    architecture = describe(checkpoint.config, checkpoint.shapes | buffers)
    assert {architecture.role(name, shape) for name, shape in buffers.items()} == {Role.OTHER}
    assert architecture.note == ""


def test_position_embeddings_and_projections_are_other(load: Callable[[str], Any]) -> None:
    for case, name in [
        ("gpt2", "transformer.wpe.weight"),
        ("opt", "model.decoder.embed_positions.weight"),
    ]:
        checkpoint = load(case)
        assert checkpoint.architecture.role(name, checkpoint.shapes[name]) is Role.OTHER


def test_an_unexpected_matrix_is_noted(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama")
    extra = {"model.layers.1.self_attn.g_proj.weight": (64, 64)}
    note = describe(checkpoint.config, checkpoint.shapes | extra).note
    assert note.startswith("not in the table of llama")
    assert note.endswith("1 tensors inside the blocks, the first is " + next(iter(extra)))


def test_a_missing_head_and_embedding_are_noted(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama")
    shapes = {n: s for n, s in checkpoint.shapes.items() if n.startswith("model.layers.")}
    architecture = describe(checkpoint.config, shapes)
    assert architecture.head is None
    assert architecture.embedding is None
    assert "no output head" in architecture.note
    assert "no input embedding" in architecture.note


def test_a_head_stored_though_tied_is_noted(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama-tied")
    shapes = {**checkpoint.shapes, "lm_head.weight": (128, 64)}
    architecture = describe(checkpoint.config, shapes)
    assert architecture.tied
    assert architecture.head == "lm_head.weight"
    assert "tie" in architecture.note


@pytest.mark.parametrize("head", ["embed_out.weight", "lm_head.weight"])
def test_both_names_of_the_neox_head(head: str, load: Callable[[str], Any]) -> None:
    checkpoint = load("gpt_neox")
    shapes = dict(checkpoint.shapes)
    shapes[head] = shapes.pop("embed_out.weight")
    assert describe(checkpoint.config, shapes).head == head


def test_missing_blocks_are_an_error(load: Callable[[str], Any]) -> None:
    checkpoint = load("llama")
    shapes = {n: s for n, s in checkpoint.shapes.items() if ".layers.1." not in n}
    with pytest.raises(SourceError, match=r"model\.layers: no tensors for block 1 of 2"):
        describe(checkpoint.config, shapes)


def test_a_hole_is_an_error_without_a_depth_in_the_config() -> None:
    shapes = {f"model.layers.{i}.mlp.up_proj.weight": (8, 8) for i in range(6) if i % 2}
    with pytest.raises(SourceError, match=r"block 0, 2, 4 of 6"):
        describe({"model_type": "llama"}, shapes)


def test_names_of_no_decoder_are_an_error() -> None:
    with pytest.raises(SourceError, match="block number"):
        describe({"model_type": "llama"}, {"weight": (8, 8), "linear.weight": (8, 8)})


def test_split_and_full_name(load: Callable[[str], Any]) -> None:
    architecture = load("llama").architecture
    assert architecture.split("model.layers.1.mlp.up_proj.weight") == (1, "mlp.up_proj")
    assert architecture.split("model.layers.1.mlp.up_proj.bias") == (1, "mlp.up_proj.bias")
    assert architecture.split("model.layers.x.up.weight") == (None, "model.layers.x.up.weight")
    assert architecture.split("model.layers_0.up.weight")[0] is None
    assert architecture.full_name(12, "mlp.up_proj") == "model.layers.12.mlp.up_proj.weight"
    assert architecture.shared_input_of("lm_head.weight") is None


def test_reasons_are_given_where_nothing_can_be_folded(load: Callable[[str], Any]) -> None:
    architecture = load("opt-gelu").architecture
    shared = architecture.shared_input_of("model.decoder.layers.0.fc2.weight")
    assert shared.producer is None
    assert "homogeneous" in shared.why


def test_no_table_is_untested() -> None:
    assert set(tiny_models.FAMILIES) == set(FAMILIES)
