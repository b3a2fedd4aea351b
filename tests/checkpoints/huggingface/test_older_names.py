"""Configs for readers of any age: what transformers reads does not change."""

import json
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from tersor.checkpoints.huggingface.older_names import with_older_names
from tiny_models import FAMILIES, tiny

FLAT = {"rope_theta": 5e5, "rope_type": "default"}
LLAMA3 = {
    "rope_theta": 5e5,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def written(family: str, **fields: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(tiny(family, **fields).config.to_json_string())
    return config


def read(config: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = CONFIG_MAPPING[config["model_type"]].from_dict(config).to_dict()
    return fields


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_same(family: str) -> None:
    config = written(family)
    with_both = with_older_names(config)
    assert {**with_both, **config} == with_both
    found, meant = read(with_both), read(config)
    assert {key: found[key] for key in meant} == meant


def test_rotary_embeddings() -> None:
    assert with_older_names({"rope_parameters": FLAT})["rope_theta"] == 5e5
    assert "rope_scaling" not in with_older_names({"rope_parameters": FLAT})
    config = written("llama", rope_parameters=LLAMA3)
    both = with_older_names(config)
    assert both["rope_scaling"] == {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    assert read(both)["rope_parameters"] == read(config)["rope_parameters"]
    linear = with_older_names({"rope_parameters": {**FLAT, "rope_type": "linear", "factor": 2.0}})
    assert linear["rope_scaling"] == {"rope_type": "linear", "factor": 2.0, "type": "linear"}


def test_parameters_by_types_of_layers_and_parts() -> None:
    both = with_older_names(written("gemma3_text"))
    assert (both["rope_theta"], both["rope_local_base_freq"]) == (1e6, 1e4)
    assert both["sliding_window_pattern"] == 6
    part = with_older_names({"text_config": {"rope_parameters": FLAT}, "dtype": "bfloat16"})
    assert part["text_config"]["rope_theta"] == 5e5
    assert "rope_theta" not in part


def test_what_is_there_stays() -> None:
    assert with_older_names({"dtype": "bfloat16"}) == {
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }
    old = {"rope_theta": 1e4, "torch_dtype": "float16", "rope_scaling": None}
    assert with_older_names(old) == old
    assert with_older_names({**old, "dtype": "bfloat16"})["torch_dtype"] == "float16"
    assert with_older_names({"model_type": "qwen3_moe", "num_local_experts": 4})["num_experts"] == 4
