import json
from pathlib import Path

import pytest

import tersor
from tersor.checkpoints.huggingface.config_fields import check_fields
from tersor.checkpoints.opening import open_source
from tersor.errors import SourceError, TersorError
from tiny_models import save_tiny

FILE = Path("m/config.json")


def refused(config):
    with pytest.raises(SourceError) as error:
        check_fields(FILE, config)
    text = str(error.value)
    assert text.startswith("m/config.json: ")
    assert text.endswith("; take the file from the original model")
    return text


@pytest.mark.parametrize(
    "field",
    [
        "num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "num_key_value_heads",
        "hidden_size", "n_embd", "intermediate_size", "vocab_size",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [0, -1, 2**31, 2.5, "4", True, [4, 0], float("nan")])
def test_counts(field, value):
    shown = 0 if value == [4, 0] else value
    assert f"{field} is {shown!r}, not a whole number from 1 to" in refused({field: value})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": ["llama", 2]}, "model_type is 2, not a name"),
        ({"model_type": {}}, "model_type is {}, not a name"),
        ({"num_experts": -1}, "num_experts is -1, not a whole number from 0"),
        ({"sliding_window": -1}, "sliding_window is -1, not a whole number from 0"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps is -1e-05, not a finite number"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is '1e-5', not"),
        ({"rope_theta": 0}, "rope_theta is 0, not a finite number above 0"),
        ({"rope_theta": float("inf")}, "rope_theta is inf"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', not an object"),
        ({"rope_scaling": {"factor": float("nan")}}, "rope_scaling.factor is nan"),
        ({"rope_parameters": {"full": {"rope_theta": -1}}}, "rope_parameters.full.rope_theta is"),
        ({"rope_scaling": {"long_factor": [1.0, 0.0]}}, "rope_scaling.long_factor is 0.0"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', not true or false"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"text_config": 3}, "text_config is 3, not an object"),
        ({"text_config": {"hidden_size": 0}}, "text_config.hidden_size is 0"),
        ({"thinker_config": {"text_config": {"n_head": "x"}}}, "thinker_config.text_config.n_head"),
        ({"hidden_size": {"a": "x" * 99}}, "..., not a whole number"),
    ],
)
def test_other_fields(config, words):
    assert words in refused(config)


@pytest.mark.parametrize("part", ["", "text_config"])
def test_heads_that_do_not_divide(part):
    config = {"num_attention_heads": 9, "num_key_value_heads": 5}
    prefix = f"{part}." if part else ""
    said = refused({part: config} if part else config)
    assert f"{prefix}num_attention_heads is 9, no multiple of" in said
    assert f"{prefix}num_key_value_heads, which is 5;" in said


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_key_value_heads": None, "n_inner": None, "rope_scaling": None, "text_config": None},
        {"num_key_value_heads": [3, 3, 4], "num_attention_heads": [12, 12, 16]},
        {"head_dim": 0, "num_experts": 0, "max_position_embeddings": 1200.0},
        {"rope_scaling": {"type": "dynamic", "factor": 2, "attention_factor": None}},
        {"vision_config": {"num_heads": "any", "hidden_size": 0}},
        {"time_step_limit": [0.0, float("inf")]},
    ],
)
def test_what_models_do_have(config):
    check_fields(FILE, config)


@pytest.mark.sweep
def test_no_default_of_transformers_is_refused():
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if model_type in CONFIG_MAPPING and model_type != "gemma4_assistant":  # has no default
            config = CONFIG_MAPPING[model_type]()
            check_fields(Path(model_type), json.loads(config.to_json_string(use_diff=False)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    save_tiny("llama", directory)
    return directory


@pytest.mark.parametrize("change", [{"num_attention_heads": 0}, {"num_hidden_layers": -1}])
def test_every_entrance_names_file_and_field(change, model, tmp_path):
    for file in model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((model / "config.json").read_text()) | change
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    (field,) = change
    entrances = (
        open_source,
        tersor.load,
        tersor.Engine,
        tersor.evaluate,
        lambda path: tersor.quantize(path, tmp_path / "out"),
        lambda path: tersor.generate(path, "x"),
    )
    for entrance in entrances:
        with pytest.raises(TersorError, match=rf"config\.json: {field} is "):
            entrance(tmp_path)
