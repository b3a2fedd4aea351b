"""Artifacts through plain transformers: the same values, and the same codes when it saves them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import tersor
from tiny_models import save_tokenizer, tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    tiny("llama").to(torch.bfloat16).save_pretrained(home / "model")
    save_tokenizer(home / "model")
    return home / "model"


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("w4", {"group_size": 32}), ("w4", {"group_size": 32, "bits": 8}), ("w8a8", {}), ("fp8", {})],
)
def test_codes_survive_loading_and_saving(
    model: Path, tmp_path: Path, recipe: str, options: dict[str, int]
) -> None:
    tersor.quantize(model, tmp_path / "made", recipe, **options)
    AutoModelForCausalLM.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "saved")
    made, saved = (load_file(tmp_path / one / "model.safetensors") for one in ("made", "saved"))
    assert made.keys() == saved.keys()
    for name, tensor in made.items():
        assert torch.equal(bits(tensor), bits(saved[name])), name
    assert tersor.check(tmp_path / "saved").sound


def test_values_survive_where_transformers_decodes_them(model: Path, tmp_path: Path) -> None:
    tersor.quantize(model, tmp_path / "made", "w4", group_size=32, asymmetric=True)
    AutoModelForCausalLM.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    meant = tersor.load(tmp_path / "made", kernels=False).state_dict()
    for name, tensor in saved.items():
        assert torch.equal(tensor, meant[name].to(torch.bfloat16)), name
    assert tersor.check(tmp_path / "saved").sound


def test_what_was_saved_after_it_ran_is_named(model: Path, tmp_path: Path) -> None:
    tersor.quantize(model, tmp_path / "made", "w4", group_size=32)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    with torch.inference_mode():
        loaded(torch.tensor([[3, 1, 44]]))
    loaded.save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["quantization_config"]["quantization_status"] == "decompressed"
    (problem,) = tersor.check(tmp_path / "saved").problems
    assert "decompressed, as transformers saves a model that has run" in problem
