"""Architectures without a table: from transformers' modules, and from names alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file
from torch import nn

import tiny_models
from tersor.families.registry import FAMILIES
from tersor.models.architecture import Architecture, Role
from tersor.models.describing import describe
from tersor.models.discovery import block_containers
from tersor.models.pairs import input_groups, pairs

SMALL = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 160,
}
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "stablelm": ("StableLmConfig", SMALL),
    "olmo2": ("Olmo2Config", SMALL),
    "bloom": ("BloomConfig", {"vocab_size": 128, "hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "gptj": (
        "GPTJConfig",
        {"vocab_size": 128, "n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8},
    ),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            **SMALL,
            "num_experts": 4,
            "moe_intermediate_size": 96,
            "shared_expert_intermediate_size": 32,
        },
    ),
}


def saved(model_type: str, directory: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    config_class, settings = UNKNOWN[model_type]
    config = getattr(transformers, config_class)(**settings)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(directory)
    tensors = load_file(directory / "model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return model, json.loads((directory / "config.json").read_text()), shapes


def linears(architecture: Architecture, shapes: dict[str, Any]) -> set[str]:
    return {n for n, shape in shapes.items() if architecture.role(n, shape) is Role.LINEAR}


@pytest.mark.parametrize("model_type", list(UNKNOWN))
@pytest.mark.parametrize("invented", [False, True])
def test_linears_embedding_and_head(model_type: str, invented: bool, tmp_path: Path) -> None:
    assert model_type not in FAMILIES
    model, config, shapes = saved(model_type, tmp_path)
    if invented:
        config["model_type"] = "from_the_year_2031"
    architecture = describe(config, shapes)
    modules = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(f"{architecture.container}.")
    }
    routers = {name for name in modules if name.endswith("shared_expert_gate.weight")}
    experts = {n for n in shapes if ".experts." in n}
    assert linears(architecture, shapes) == modules - routers | experts
    assert architecture.role(architecture.embedding or "", (128, 64)) is Role.EMBEDDING
    assert "embed" in (architecture.embedding or "") or "wte" in (architecture.embedding or "")
    tied = model.config.tie_word_embeddings
    assert architecture.head == (None if tied else "lm_head.weight")
    assert architecture.tied == tied


@pytest.mark.parametrize("model_type", list(UNKNOWN))
def test_it_says_where_its_knowledge_comes_from(model_type: str, tmp_path: Path) -> None:
    model, config, shapes = saved(model_type, tmp_path)
    built = describe(config, shapes)
    assert not built.known
    assert f"linears are those of transformers' {type(model).__name__}" in built.note

    invented = describe({**config, "model_type": "from_the_year_2031"}, shapes)
    assert not invented.known
    assert "found by name and shape, taken to be stored (out, in)" in invented.note
    assert "'from_the_year_2031'" in invented.note


def test_no_pairs_and_every_linear_alone(tmp_path: Path) -> None:
    _, config, shapes = saved("stablelm", tmp_path)
    architecture = describe(config, shapes)
    assert pairs(architecture, shapes, 0) == ()
    groups = input_groups(architecture, shapes, 0)
    assert len(groups) == 7
    assert all(len(group) == 1 for group in groups)
    assert architecture.shared_input_of("model.layers.0.mlp.up_proj.weight") is None


def test_experts_that_are_no_modules_are_found(tmp_path: Path) -> None:
    _, config, shapes = saved("qwen2_moe", tmp_path)
    architecture = describe(config, shapes)
    assert "judged by name" not in architecture.note
    assert "mlp.experts.*.down_proj" in architecture.linears
    assert "mlp.gate" not in architecture.linears


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_the_heuristic_agrees_with_the_tables(family: str, load: Any) -> None:
    checkpoint = load(family)
    config = {**checkpoint.config, "model_type": "invented"}
    guessed = describe(config, checkpoint.shapes)
    known = checkpoint.architecture
    assert not guessed.known
    assert guessed.container == known.container
    assert guessed.embedding == known.embedding
    assert guessed.head == known.head
    assert linears(guessed, checkpoint.shapes) == linears(known, checkpoint.shapes)


def test_conv1d_of_an_unknown_architecture_is_transposed(load: Any) -> None:
    # GPT-2's modules under names its table does not know: transformers still tells Conv1D.
    checkpoint = load("gpt2")
    shapes = {n.replace("transformer.h", "decoder.blocks"): s for n, s in checkpoint.shapes.items()}
    architecture = describe(checkpoint.config, shapes)
    assert not architecture.known
    assert "the tensor names are not those of gpt2" in architecture.note
    assert architecture.container == "decoder.blocks"
    assert architecture.is_transposed("decoder.blocks.0.attn.c_attn.weight")
    assert len(linears(architecture, shapes)) == 8


@pytest.mark.parametrize(
    "relative",
    [
        "input_layernorm",
        "ln_1",
        "ln1",
        "mlp.router",
        "mlp.router.layer",
        "mlp.gate",
        "mlp.shared_expert_gate",
        "position_embeddings",
        "conv1d",
        "q_proj.lora_A",
    ],
)
def test_names_that_are_no_linears(relative: str) -> None:
    rows = 1 if relative.endswith("shared_expert_gate") else 4
    shapes = {f"blocks.0.{relative}.weight": (rows, 8), "blocks.0.w1.weight": (8, 8)}
    architecture = describe({"model_type": "new", "num_experts": 4}, shapes)
    assert linears(architecture, shapes) == {"blocks.0.w1.weight"}


def test_a_gate_that_is_no_router() -> None:
    shapes = {"blocks.0.mlp.gate.weight": (16, 8)}
    assert linears(describe({"model_type": "new"}, shapes), shapes) == set(shapes)
    assert linears(describe({"model_type": "new", "num_experts": 4}, shapes), shapes) == set(shapes)


def test_stacked_experts_of_unknown_layout_stay_and_are_noted() -> None:
    shapes = {"blocks.0.experts.w_in": (4, 8, 32), "blocks.0.o.weight": (8, 8)}
    architecture = describe({"model_type": "new"}, shapes)
    assert architecture.role("blocks.0.experts.w_in", (4, 8, 32)) is Role.OTHER
    assert "experts.w_in" in architecture.note


def test_the_list_with_the_depth_of_the_config_is_the_decoder() -> None:
    shapes = {f"vision.layers.{i}.fc.weight": (64, 64) for i in range(3)}
    shapes |= {f"text.layers.{i}.fc.weight": (8, 8) for i in range(2)}
    assert describe({"num_hidden_layers": 2}, shapes).container == "text.layers"
    assert describe({}, shapes).container == "vision.layers"


def test_a_config_transformers_cannot_build_falls_back_to_names(tmp_path: Path) -> None:
    _, config, shapes = saved("stablelm", tmp_path)
    config["num_attention_heads"] = 0
    architecture = describe(config, shapes)
    assert "cannot build stablelm" in architecture.note
    assert len(linears(architecture, shapes)) == 14


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    _, config, shapes = saved("stablelm", tmp_path)
    marker = tmp_path / "was_run"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Evil: ...\n"
    (tmp_path / "modeling_evil.py").write_text(code)
    config["auto_map"] = {"AutoModelForCausalLM": f"{tmp_path}--modeling_evil.Evil"}
    assert "StableLmForCausalLM" in describe(config, shapes).note
    assert not marker.exists()


def test_a_quantized_config_is_still_described(tmp_path: Path) -> None:
    _, config, shapes = saved("stablelm", tmp_path)
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    assert "StableLmForCausalLM" in describe(config, shapes).note


def test_block_containers() -> None:
    assert block_containers(
        {
            "model.layers.0.mlp.experts.3.up.weight": (),
            "model.layers.11.mlp.up.weight": (),
            "vision.blocks.2.weight": (),
            "lm_head.weight": (),
            "0.weight": (),
        }
    ) == {"model.layers": {0, 11}, "vision.blocks": {2}}
