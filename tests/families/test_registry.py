"""Descriptions against the config classes of transformers."""

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tersor.families.registry import FAMILIES, GGUF, OUTER, RUNNABLE

# Keyword arguments of a config class whose defaults stand in its code.
IN_CODE = {("gemma3_text", "sliding_window_pattern"): 6}
# Fields whose defaults a config class replaces when it is made.
CHANGED_IN_CODE = {("glm", "eos_token_id"), ("glm4", "eos_token_id")}


def default(config: Any, name: str) -> Any:
    """What a config class takes for a field that is left out."""
    thetas = config.default_theta
    if name == "rope_theta":
        return thetas["global"] if isinstance(thetas, dict) else thetas
    if name == "rope_local_base_freq":
        return thetas["local"]
    found = {one.name: one.default for one in fields(config)}
    return found.get(name, IN_CODE.get((config.model_type, name)))


@pytest.mark.parametrize("model_type", RUNNABLE)
def test_fields_that_the_engine_reads(model_type: str) -> None:
    """A config that leaves one out has what the config class makes of it."""
    config = AutoConfig.for_model(model_type)
    for name, value in RUNNABLE[model_type].defaults.items():
        known = name == "rope_theta" or name in {one.name for one in fields(config)}
        if known and (model_type, name) not in CHANGED_IN_CODE:
            found = default(config, name)
            assert (found, type(found)) == (value, type(value)), name
        else:
            # A keyword that the class takes besides, or no field of this family.
            assert value is None or getattr(config, name, value) == value, name


@pytest.mark.parametrize("model_type", FAMILIES)
def test_defaults_are_those_of_the_config_class(model_type: str) -> None:
    family, config = FAMILIES[model_type], AutoConfig.for_model(model_type)
    assert family.heads == getattr(config, family.blocks.heads_key)
    assert family.tied == config.tie_word_embeddings
    for shared in family.blocks.shared_inputs:
        if shared.requires is not None:
            assert getattr(config, shared.requires.key) == shared.requires.default


@pytest.mark.parametrize("model_type", OUTER)
def test_models_with_other_parts(model_type: str) -> None:
    outer = OUTER[model_type]
    config = CONFIG_MAPPING[model_type]()
    assert config.text_config.model_type == outer.text
    assert default(config, "tie_word_embeddings") == outer.tied


def test_names_are_those_of_one_family() -> None:
    assert all(name == family.model_type for name, family in FAMILIES.items())
    files = {id(family.gguf) for family in FAMILIES.values() if family.gguf is not None}
    assert len(GGUF) == len(files)
    assert GGUF["llama", False] is FAMILIES["llama"]  # whose files Mistral has too


def test_descriptions_need_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, tersor.families.registry\n"
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
