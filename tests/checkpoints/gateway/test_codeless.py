"""What transformers may see of a directory."""

import json
from pathlib import Path

import pytest

from tersor.checkpoints.gateway.codeless import code_named, codeless_view, without_code
from tersor.errors import SourceError


def test_keys_that_run_something_go_at_any_depth() -> None:
    inner = {"auto_map": {"AutoModel": "x.X"}, "hidden_size": 8}
    found = without_code(
        {
            "model_type": "llava",
            "vision_config": {**inner, "attn_implementation": "kernels-community/x"},
            "towers": [inner],
            "auto_map": {},
            "use_kernels": True,
            "kernel_config": {"a": "b/c:D"},
            "_attn_implementation": "kernels-community/x",
            "experts_implementation": "x",
            "transformers_weights": "other.bin",
            "configuration_files": ["config.5.0.0.json"],
            "custom_generate": "somebody/else",
        }
    )
    assert found == {
        "model_type": "llava",
        "vision_config": {"hidden_size": 8},
        "towers": [{"hidden_size": 8}],
    }


def test_a_view_has_no_code_and_no_other_directories(tmp_path: Path) -> None:
    for name in ("modeling_x.py", "vocab.pkl", "tokenizer.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    for folder in ("custom_generate", "question_encoder_tokenizer", "additional_chat_templates"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jinja").write_text("{}")
    settings = {"auto_map": {"AutoTokenizer": ["x.T", None]}, "eos_token": "e"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with codeless_view(tmp_path) as view:
        names = sorted(file.name for file in view.iterdir())
        assert names == ["additional_chat_templates", "tokenizer.json", "tokenizer_config.json"]
        assert json.loads((view / "tokenizer_config.json").read_text()) == {"eos_token": "e"}
    assert not view.exists()


def test_settings_that_are_no_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with (
        pytest.raises(SourceError, match=r"tokenizer_config\.json: expected a JSON object"),
        codeless_view(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("auto_map", "named"),
    [
        ({"AutoTokenizer": ["slow.T", "fast.T"]}, "fast.T"),
        ({"AutoTokenizer": ["slow.T", None]}, "slow.T"),
        ({"AutoTokenizer": "x.T"}, "x.T"),
        (["slow.T", None], "slow.T"),
        ({"AutoModel": "x.M"}, ""),
        (5, ""),
        (None, ""),
    ],
)
def test_the_class_that_is_named(auto_map: object, named: str) -> None:
    assert code_named({"auto_map": auto_map}, "AutoTokenizer") == named


def test_settings_that_are_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"a":' * 700 + "1" + "}" * 700)
    with pytest.raises(SourceError), codeless_view(tmp_path):
        pass
