"""What a ``generation_config.json`` may say; each wrong value is named with its file and field."""

import json
from pathlib import Path
from typing import Any

import pytest

from tersor.checkpoints.gateway.configuration import configuration_of
from tersor.checkpoints.gateway.generation import end_tokens, generation_config
from tersor.errors import SourceError


def config(**fields: Any) -> Any:
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "vocab_size": 128}
    return configuration_of({"model_type": "llama", **sizes, **fields}, "somewhere")


def written(path: Path, text: str) -> Path:
    (path / "generation_config.json").write_text(text)
    return path


@pytest.mark.parametrize(
    ("ends", "found"), [(2, {2}), ([2, 3], {2, 3}), (0, {0}), (127, {127}), (None, {5})]
)
def test_what_ends_an_answer(tmp_path: Path, ends: Any, found: set[int]) -> None:
    written(tmp_path, json.dumps({"eos_token_id": ends, "pad_token_id": -1, "top_k": -1}))
    assert end_tokens(tmp_path, 128, 5) == found


def test_without_a_file(tmp_path: Path) -> None:
    assert end_tokens(tmp_path, 128, [3, 4]) == {3, 4}
    assert end_tokens(tmp_path, 128, None) == frozenset()
    assert generation_config(tmp_path, config()) is None
    with pytest.raises(SourceError, match=r"config\.json: eos_token_id is 128, not a token from 0"):
        end_tokens(tmp_path, 128, 128)


@pytest.mark.parametrize(
    "ends", ["2", "</s>", 2.0, True, -1, 128, [], [2, "3"], [2, 128], {"a": 1}]
)
def test_ends_that_are_no_tokens(tmp_path: Path, ends: Any) -> None:
    written(tmp_path, json.dumps({"eos_token_id": ends}))
    with pytest.raises(SourceError, match=r"generation_config\.json: eos_token_id is .*0 to 127"):
        end_tokens(tmp_path, 128, 2)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("max_new_tokens", -1, "a whole number from 1"),
        ("max_new_tokens", 0, "a whole number from 1"),
        ("max_new_tokens", "20", "a whole number from 1"),
        ("max_new_tokens", True, "a whole number from 1"),
        ("max_length", 20.5, "a whole number from 0"),
        ("temperature", "hot", "a number from 0"),
        ("temperature", -0.1, "a number from 0"),
        ("temperature", [1], "a number from 0"),
        ("top_p", 10**400, "a number from 0 to 1"),
        ("top_p", 1.1, "a number from 0 to 1"),
        ("min_p", "x", "a number from 0 to 1"),
        ("top_k", 1.5, "a whole number"),
        ("pad_token_id", "0", "a whole number"),
        ("do_sample", "yes", "true or false"),
        ("num_beams", 0, "a whole number from 1"),
    ],
)
def test_wrong_values(tmp_path: Path, field: str, value: Any, wanted: str) -> None:
    written(tmp_path, json.dumps({field: value}))
    said = rf"generation_config\.json: {field} is .*, not {wanted}; correct or remove it"
    with pytest.raises(SourceError, match=said):
        generation_config(tmp_path, config())


@pytest.mark.parametrize("text", ['{"temperature": NaN}', '{"repetition_penalty": Infinity}'])
def test_numbers_without_a_value(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="not a number from 0"):
        generation_config(written(tmp_path, text), config())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ("5", "expected a JSON object"),
        ('{"cache_implementation": "none"}', "Invalid `cache_implementation`"),
        ('{"early_stopping": "x"}', "`early_stopping` must be"),
        ('{"compile_config": 5}', "remove the file"),
        ('{"watermarking_config": 5}', "remove the file"),
        ('{"suppress_tokens": 5}', "remove the file"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SourceError, match=rf"generation_config\.json: .*{said}") as caught:
        generation_config(written(tmp_path, text), config())
    assert "\n" not in str(caught.value)


def test_generation_of_the_checkpoint_is_not_run(tmp_path: Path) -> None:
    written(tmp_path, '{"custom_generate": "somebody/else", "trust_remote_code": true}')
    found = generation_config(tmp_path, config())
    assert not hasattr(found, "custom_generate")
    assert not hasattr(found, "trust_remote_code")
