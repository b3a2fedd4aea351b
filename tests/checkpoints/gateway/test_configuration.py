"""Damaged and foreign configs are errors of one line, which name the field."""

import json
from pathlib import Path
from typing import Any

import pytest

from tersor.checkpoints.gateway.configuration import (
    ConfigRefused,
    UnknownType,
    configuration,
    configuration_of,
)
from tersor.errors import SourceError

LLAMA = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": "x"}, "'hidden_size' expected int, got str"),
        ({"vocab_size": 1.5}, "'vocab_size' expected int, got float"),
        ({"rope_parameters": 3}, "'rope_parameters'"),
        ({"layer_types": 5}, "field 'layer_types': TypeError"),
        ({"id2label": 5}, "field 'id2label': AttributeError"),
        ({"num_labels": "x"}, "field 'num_labels': TypeError"),
        ({"dtype": "no such"}, "field 'dtype'"),
        ({"hidden_size": 65}, "hidden size .65. is not a multiple"),
        ({"eos_token_id": "2"}, "'eos_token_id' with value '2'"),
        ({"eos_token_id": True}, "'eos_token_id' with value True"),
    ],
)
def test_a_field_that_transformers_refuses(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigRefused, match=said) as caught:
        configuration_of({**LLAMA, **change}, "somewhere")
    text = str(caught.value)
    assert text.startswith("somewhere: transformers cannot build llama from config.json (")
    assert "put config.json right or download it again" in text
    assert "\n" not in text
    assert len(text) < 450


@pytest.mark.parametrize("model_type", [["llama"], 5, {"a": 1}, None, True])
def test_a_type_that_is_no_text(model_type: Any) -> None:
    with pytest.raises(ConfigRefused, match=r"model_type in config\.json is .*, not a string"):
        configuration_of({**LLAMA, "model_type": model_type}, "somewhere")


def test_a_type_that_transformers_does_not_know() -> None:
    code = {"auto_map": {"AutoConfig": "configuration_x.XConfig"}}
    with pytest.raises(UnknownType, match="know model_type 'x'; try a newer transformers than 5"):
        configuration_of({"model_type": "x"}, "somewhere")
    with pytest.raises(UnknownType, match=r"own code \(configuration_x\.XConfig\) is never run"):
        configuration_of({"model_type": "x", **code}, "somewhere")
    with pytest.raises(UnknownType, match=r"config\.json has no model_type"):
        configuration_of({"hidden_size": 8}, "somewhere")


def test_a_known_type_loads_by_its_own_class_whatever_code_lies_beside_it(tmp_path: Path) -> None:
    code = "raise SystemExit('the code of the checkpoint was run')\n"
    (tmp_path / "configuration_x.py").write_text(code)
    fields = {**LLAMA, "auto_map": {"AutoConfig": "configuration_x.XConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    found = configuration(tmp_path)
    assert type(found).__name__ == "LlamaConfig"
    assert type(found).__module__.startswith("transformers.")
    assert found.name_or_path == str(tmp_path)
    assert not hasattr(found, "auto_map")


def test_fields_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"config\.json: no such file"):
        configuration(tmp_path)
