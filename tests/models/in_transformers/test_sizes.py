"""Sizes in config.json against the weights of tiny models; every message names the field."""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

import tersor
from tersor.errors import SourceError
from tersor.models.in_transformers.sizes import check_sizes
from tiny_models import FAMILIES, save_tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}

    def model(family):
        if family not in made:
            directory = tmp_path_factory.mktemp(family)
            save_tiny(family, directory)
            config = json.loads((directory / "config.json").read_text())
            weights = load_file(directory / "model.safetensors")
            made[family] = config, {name: tuple(w.shape) for name, w in weights.items()}
        return made[family]

    return model


def refused(config, shapes):
    with pytest.raises(SourceError) as error:
        check_sizes(Path("m"), config, shapes)
    text = str(error.value)
    assert text.startswith("m/config.json: ")
    assert "take the config.json that belongs to the weights" in text
    return text.removeprefix("m/config.json: ")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_model_passes(family, models):
    check_sizes(Path("m"), *models(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_another_vocabulary(family, models):
    config, shapes = models(family)
    said = refused(config | {"vocab_size": 129}, shapes)
    assert re.match(
        r"vocab_size is 129, which makes 129 rows of '\S+'; the weights have 128;", said
    )


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("llama", {"intermediate_size": 161}, "intermediate_size is 161, which makes"),
        ("llama", {"hidden_size": 68}, "hidden_size is 68, which makes"),
        ("llama", {"num_key_value_heads": 4}, "num_key_value_heads is 4, which makes 64 rows"),
        ("qwen3", {"head_dim": 32}, "head_dim is 32, which makes"),
        ("llama", {"head_dim": 3}, "head_dim is 3, which makes"),
        ("gemma3_text", {"head_dim": 0}, "head_dim is 0, which makes 0"),
        ("gpt2", {"n_inner": 161}, "n_inner is 161, which makes"),
        ("gpt2", {"n_embd": 68}, "n_embd is 68, which makes"),
        (
            "gpt2",
            {"n_positions": 130},
            "n_positions is 130, which makes 130 rows of",
        ),
        ("opt", {"ffn_dim": 161}, "ffn_dim is 161, which makes"),
        ("qwen3_moe", {"moe_intermediate_size": 97}, "moe_intermediate_size is 97, which makes"),
        ("qwen3_moe", {"num_local_experts": 3}, "num_local_experts is 3, which makes"),
        ("llama", {"num_hidden_layers": 3}, "num_hidden_layers makes 3 blocks, and the weights ha"),
        ("gpt2", {"n_layer": 3}, "n_layer makes 3 blocks, and the weights have none of"),
    ],
)
def test_other_sizes(family, change, words, models):
    config, shapes = models(family)
    assert words in refused(config | change, shapes)


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("qwen2", {"hidden_size": 3}, "field 'hidden_size': transformers cannot build qwen2"),
        ("gpt2", {"n_embd": 1}, "must be divisible by num_heads"),
        ("llama", {"intermediate_size": 2**31 - 1, "hidden_size": 2**31 - 4}, "overflowed"),
        ("llama", {"hidden_act": "unheard of"}, "field 'hidden_act': transformers cannot build"),
        ("llama", {"rope_parameters": {"rope_type": "x", "factor": 2.0}}, "field 'rope_parameters"),
    ],
)
def test_fields_of_which_no_model_can_be_built(family, change, words, models):
    config, shapes = models(family)
    assert words in refused(config | change, shapes)


def test_a_field_that_is_not_there_counts_as_transformers_reads_it(models):
    config, shapes = models("llama")
    without = {key: value for key, value in config.items() if key != "intermediate_size"}
    assert "intermediate_size is 11008, which makes" in refused(without, shapes)


def test_a_size_that_two_fields_have_is_the_one_that_mends_it(models):
    config, shapes = models("llama")
    assert "intermediate_size is 64, which makes" in refused(
        config | {"intermediate_size": 64}, shapes
    )
    assert "vocab_size is 160, which makes" in refused(config | {"vocab_size": 160}, shapes)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "unheard of", "vocab_size": 3},
        {"num_hidden_layers": 1},
        {"max_position_embeddings": 7},
    ],
)
def test_what_is_not_asked(change, models):
    config, shapes = models("llama")
    check_sizes(Path("m"), config | change, shapes)


def test_a_number_may_be_a_vector_of_one(models):
    config, shapes = models("llama")
    name = "model.norm.weight"
    check_sizes(Path("m"), config, shapes | {name: (1, *shapes[name])})


@pytest.mark.parametrize("recipe", ["w4", "rotate-gptq"])
def test_quantize_refuses_before_any_work(recipe, tmp_path):
    save_tiny("llama", tmp_path / "model", vocab_size=129)
    file = tmp_path / "model" / "config.json"
    file.write_text(file.read_text().replace('"vocab_size": 129', '"vocab_size": 128'))
    with pytest.raises(SourceError, match=r"model/config\.json: vocab_size is 128, which"):
        tersor.quantize(tmp_path / "model", tmp_path / "out", recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
