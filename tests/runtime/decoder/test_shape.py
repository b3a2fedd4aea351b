"""What the engine reads of a configuration is what the family's own code reads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tersor.errors import EngineError, SourceError
from tersor.runtime.decoder.blueprint import decoder_plan
from tersor.runtime.engine.engine import Engine
from tiny_models import ODD, logits_of, save_tiny, tokens

TEXT = tokens(batch=1, length=31)[0].tolist()
GEMMA = ("gemma2", "gemma3_text")
# Fields that some family reads, and the families that do (to transformers a Mistral with types of
# layers is a Ministral).
FIELDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "partial_rotary_factor": (0.5, ("phi3",)),
    "sliding_window": (5, ("mistral", "phi3", "qwen2", "qwen3", *GEMMA)),
    "use_sliding_window": (True, ("qwen2", "qwen3")),
    "layer_types": (["sliding_attention"] * 2, ("mistral", "qwen2", "qwen3", *GEMMA)),
    "hidden_activation": ("gelu_pytorch_tanh", GEMMA),
    "hidden_act": ("gelu_pytorch_tanh", ("llama", "mistral", "qwen2", "qwen3", "phi3")),
    "query_pre_attn_scalar": (3, GEMMA),
    "attn_logit_softcapping": (0.5, ("gemma2",)),
    "final_logit_softcapping": (0.5, GEMMA),
    "attention_bias": (True, ("llama", "qwen3", *GEMMA)),
    "mlp_bias": (True, ("llama",)),
    "qkv_bias": (False, ()),
    "use_qk_norm": (True, ()),
    "embedding_multiplier": (3.0, ()),
    "attention_multiplier": (0.1, ()),
    "residual_multiplier": (0.3, ()),
    "logits_scaling": (4.0, ()),
    "use_bidirectional_attention": (True, GEMMA),
    "parallel_attn": (True, ()),
    "norm_eps": (0.5, ()),
    "layer_norm_eps": (0.5, ()),
    "rotary_pct": (0.25, ()),
}


def with_fields(directory: Path, fields: dict[str, Any]) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def theirs(directory: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([TEXT]), use_cache=False).logits[0]
    return found


@pytest.mark.parametrize("family", ODD)
def test_stray_fields_change_nothing(tmp_path: Path, family: str) -> None:
    save_tiny(family, tmp_path, **ODD[family])
    before = logits_of(Engine(tmp_path, activation_bits=16, cache="float32"), TEXT)
    stray = {name: value for name, (value, readers) in FIELDS.items() if family not in readers}
    assert "embedding_multiplier" in stray
    with_fields(tmp_path, stray)
    found = logits_of(Engine(tmp_path, activation_bits=16, cache="float32"), TEXT)
    assert torch.equal(found, before)
    torch.testing.assert_close(found, theirs(tmp_path), rtol=0, atol=3e-5)


@pytest.mark.parametrize("family", ["phi3", "qwen3", "gemma2", "gemma3_text", "mistral"])
@pytest.mark.parametrize(
    "name",
    [
        "partial_rotary_factor",
        "sliding_window",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "hidden_act",
    ],
)
def test_fields_that_are_read_are_read(tmp_path: Path, family: str, name: str) -> None:
    value, readers = FIELDS[name]
    if family not in readers:
        pytest.skip("a stray field")
    extra = {"use_sliding_window": True, "max_window_layers": 1} if family == "qwen3" else {}
    save_tiny(family, tmp_path, **{**ODD[family], **extra, name: value})
    found = logits_of(Engine(tmp_path, activation_bits=16, cache="float32"), TEXT)
    torch.testing.assert_close(found, theirs(tmp_path), rtol=0, atol=3e-5)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3_text"])
def test_biases_are_those_that_the_code_has(tmp_path: Path, family: str) -> None:
    switch = {} if family == "qwen2" else {"attention_bias": True}
    if family == "llama":
        switch["mlp_bias"] = True
    save_tiny(family, tmp_path, **ODD[family], **switch)
    found = logits_of(Engine(tmp_path, activation_bits=16, cache="float32"), TEXT)
    torch.testing.assert_close(found, theirs(tmp_path), rtol=0, atol=3e-5)


def test_biases_that_the_code_does_not_have_are_left_out_and_said(tmp_path: Path) -> None:
    save_tiny("mistral", tmp_path, **ODD["mistral"])
    before = logits_of(Engine(tmp_path), TEXT)
    held = load_file(tmp_path / "model.safetensors")
    held["model.layers.1.self_attn.q_proj.bias"] = torch.ones(60)
    save_file(held, tmp_path / "model.safetensors", metadata={"format": "pt"})
    engine = Engine(tmp_path)
    assert torch.equal(logits_of(engine, TEXT), before)
    assert any("layers.1.self_attn.q_proj.bias" in note for note in engine.notes)


def test_a_head_that_is_nowhere(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path, **ODD["llama"], tie_word_embeddings=True)
    Engine(tmp_path)
    with_fields(tmp_path, {"tie_word_embeddings": False})
    with pytest.raises(SourceError, match=r"lm_head\.weight.*tie_word_embeddings"):
        Engine(tmp_path)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotations_that_change_with_the_length(tmp_path: Path, kind: str) -> None:
    parameters = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    parameters |= {"short_factor": [1.0] * 5, "long_factor": [2.0] * 5}
    parameters["original_max_position_embeddings"] = 64
    save_tiny("llama", tmp_path, **ODD["llama"], rope_parameters=parameters)
    with pytest.raises(EngineError, match=kind):
        Engine(tmp_path)


def test_angles_for_a_part_of_a_head_where_the_code_turns_all(tmp_path: Path) -> None:
    parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    save_tiny("llama", tmp_path, **ODD["llama"], rope_parameters=parameters)
    with_fields(tmp_path, {"rope_parameters": {**parameters, "partial_rotary_factor": 0.5}})
    with pytest.raises(EngineError, match="6 dimensions that turn in heads of 10"):
        decoder_plan(json.loads((tmp_path / "config.json").read_text()))


def test_parameters_of_which_nobody_makes_a_rotary_embedding(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    with_fields(tmp_path, {"rope_parameters": {"rope_type": "default", "rope_theta": {"": 1.0}}})
    with pytest.raises(SourceError, match=r"rope_parameters\.rope_theta is \{'': 1\.0\}, not a"):
        Engine(tmp_path)
