"""Biases of zero where a checkpoint has none."""

from pathlib import Path

import pytest
import torch

from calibrating import save_model
from tersor.checkpoints.opening import open_source
from tersor.transforms import BiasedSource, with_biases


@pytest.mark.parametrize(
    ("family", "count", "switches"),
    [
        ("llama", 14, {"attention_bias", "mlp_bias"}),
        ("qwen3", 8, {"attention_bias"}),
        ("gemma3_text", 8, {"attention_bias"}),
    ],
)
def test_what_is_added(family: str, count: int, switches: set[str], tmp_path: Path) -> None:
    save_model(family, tmp_path / "model")
    source = open_source(tmp_path / "model")
    biased = with_biases(source)
    assert isinstance(biased, BiasedSource)
    added = set(biased.tensors) - set(source.tensors)
    assert len(added) == count
    assert {
        key for key, value in biased.config.items() if source.config.get(key) != value
    } == switches
    for name, bias in biased.read(added).items():
        weight = source.tensors[name.replace(".bias", ".weight")]
        assert (tuple(bias.shape), bias.dtype) == (weight.shape[:1], weight.dtype)
        assert not bool(bias.any())
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(biased.read([name])[name], source.read([name])[name])


@pytest.mark.parametrize("family", ["opt", "qwen2", "mistral", "phi3", "gpt2", "mixtral"])
def test_nothing_is_added_where_there_is_no_switch(family: str, tmp_path: Path) -> None:
    save_model(family, tmp_path / "model")
    source = open_source(tmp_path / "model")
    assert with_biases(source) is source


def test_nothing_is_added_where_it_is_on(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "model", attention_bias=True, mlp_bias=True)
    source = open_source(tmp_path / "model")
    assert with_biases(source) is source
