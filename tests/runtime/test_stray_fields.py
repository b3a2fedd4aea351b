"""Fields of config.json that a family's own modules do not read change nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tersor.errors import EngineError
from tersor.runtime.engine import Engine
from tersor.runtime.load import load
from tiny_models import save_tiny, tokens

TEXT = tokens(batch=1, length=40)[0].tolist()
STRAY: list[dict[str, Any]] = [
    {"partial_rotary_factor": 0.5},
    {"sliding_window": 8},
    {"hidden_activation": "gelu_pytorch_tanh"},
    {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8},
    {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 7},
    {"use_bidirectional_attention": True},
]


@pytest.mark.parametrize("stray", STRAY, ids=lambda fields: next(iter(fields)))
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3"])
def test_the_engine_reads_what_transformers_reads(
    tmp_path: Path, family: str, stray: dict[str, Any]
) -> None:
    save_tiny(family, tmp_path, head_dim=18)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    read = {
        "gemma2": ("use_bidirectional_attention", "attn_logit_softcapping", "sliding_window"),
        "mistral": ("layer_types",),  # transformers makes another model type of it
        "qwen2": ("layer_types",),
        "qwen3": ("layer_types",),
    }
    if any(field in stray for field in read.get(family, ())):
        pytest.skip(f"{family}'s modules read it")
    config |= stray
    file.write_text(json.dumps(config))
    model = load(tmp_path, kernels=False)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = model(torch.tensor([TEXT])).logits[0]
    found = Engine(tmp_path, activation_bits=16, cache="float32").logits(TEXT)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


def test_a_scaled_rotation_of_half_a_head_is_refused(tmp_path: Path) -> None:
    save_tiny("llama", tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["rope_parameters"] = {
        "rope_type": "linear", "factor": 2.0, "rope_theta": 1e4, "partial_rotary_factor": 0.5,
    }  # fmt: skip
    file.write_text(json.dumps(config))
    with pytest.raises(EngineError, match="partial_rotary_factor"):
        Engine(tmp_path)
