"""Tokenizers load by transformers' own classes; what needs code is refused, nobody is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.errors import SourceError
from tiny_models import save_tokenizer

CODE = "raise SystemExit('the code of the checkpoint was run')\n"
MAP = {"AutoTokenizer": ["tokenization_x.XTokenizer", None]}


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr("builtins.input", ask)


def directory(path: Path, config: dict[str, Any] | None = None, **settings: Any) -> Path:
    save_tokenizer(path)
    (path / "tokenization_x.py").write_text(CODE)
    (path / "config.json").write_text(json.dumps(config or {"model_type": "llama"}))
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return path


def test_a_class_of_transformers_is_used_in_place_of_code(tmp_path: Path) -> None:
    found = load_tokenizer(directory(tmp_path, auto_map=MAP))
    assert type(found).__module__.startswith("transformers.")
    assert found("ab")["input_ids"] == [97, 98]
    assert found.name_or_path == str(tmp_path)
    assert found.init_kwargs["name_or_path"] == str(tmp_path)
    assert not [v for v in vars(found).values() if isinstance(v, str) and "/tersor-" in v]


def test_a_vocabulary_and_merges(tmp_path: Path) -> None:
    made = directory(tmp_path, tokenizer_class="GPT2Tokenizer")
    (made / "tokenizer.json").unlink()
    (made / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2, "c": 3}')
    (made / "merges.txt").write_text("a b\n")
    found = load_tokenizer(made)
    assert found("abc")["input_ids"] == [2, 3]
    assert not [v for v in vars(found).values() if isinstance(v, str) and "/tersor-" in v]


def test_a_type_that_transformers_does_not_know_may_have_a_tokenizer(tmp_path: Path) -> None:
    config = {"model_type": "mystery", "auto_map": {"AutoConfig": "tokenization_x.X"}}
    assert load_tokenizer(directory(tmp_path, config))("a")["input_ids"] == [97]


@pytest.mark.parametrize("config", [{"model_type": "llama"}, {"model_type": "mystery"}])
@pytest.mark.parametrize("auto_map", [MAP, MAP["AutoTokenizer"]])
def test_a_class_that_only_the_checkpoint_has(
    tmp_path: Path, config: dict[str, Any], auto_map: Any
) -> None:
    made = directory(tmp_path, config, auto_map=auto_map, tokenizer_class="XTokenizer")
    with pytest.raises(SourceError, match=r"own code \(tokenization_x\.XTokenizer\), which is nev"):
        load_tokenizer(made)


@pytest.mark.parametrize(
    "name", ["AutoModelForCausalLM", "AutoTokenizer", "RagTokenizer", "set_seed"]
)
def test_names_of_other_things(tmp_path: Path, name: str) -> None:
    config = {"model_type": "x", "auto_map": {"AutoConfig": "tokenization_x.X"}}
    with pytest.raises(SourceError, match=rf"{name}' in tokenizer_config\.json is no tokenizer"):
        load_tokenizer(directory(tmp_path, config, tokenizer_class=name))
    plain = directory(tmp_path, {**config, "tokenizer_class": name})
    (plain / "tokenizer_config.json").unlink()
    with pytest.raises(SourceError, match=rf"{name}' in config\.json is no tokenizer"):
        load_tokenizer(plain)


def test_a_tokenizer_made_of_others_does_not_find_their_code(tmp_path: Path) -> None:
    """RagTokenizer reads sub-directories without saying whether their code may run."""
    text = {"model_type": "llama", "vocab_size": 8}
    rag = {"model_type": "rag", "question_encoder": text, "generator": text}
    made = directory(tmp_path, rag)
    (made / "tokenizer_config.json").unlink()
    for name in ("question_encoder_tokenizer", "generator_tokenizer"):
        inner = made / name
        inner.mkdir()
        unknown = {"model_type": "mystery", "auto_map": {"AutoConfig": "tokenization_x.X"}}
        directory(inner, unknown, auto_map=MAP, tokenizer_class="XTokenizer")
    with pytest.raises(SourceError, match="no tokenizer that transformers can load"):
        load_tokenizer(made)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("tokenizer.json", "{", "no tokenizer that transformers can load"),
        ("tokenizer.json", "[]", "no tokenizer that transformers can load"),
        ("tokenizer_config.json", "[]", r"tokenizer_config\.json: expected a JSON object"),
        ("tokenizer_config.json", '{"tokenizer_class": 5}', "tokenizer_class 5 in .* not a string"),
        ("tokenizer_config.json", '{"tokenizer_class": ["a"]}', "not a string"),
        ("tokenizer_config.json", '{"chat_template": [1]}', "chat_template in tok.* holds 1,"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "a"}]}', "no object with a name"),
        ("tokenizer_config.json", '{"model_max_length": "9"}', "model_max_length in .* is '9'"),
        (
            "tokenizer_config.json",
            '{"model_max_length": [9]}',
            "model_max_length in .*not a number",
        ),
        ("config.json", '{"model_type": ["a"]}', "model_type in config"),
        ("config.json", '{"model_type": "llama", "hidden_size": "x"}', "'hidden_size'"),
    ],
)
def test_damaged_files(tmp_path: Path, file: str, text: str, said: str) -> None:
    made = directory(tmp_path)
    (made / file).write_text(text)
    with pytest.raises(SourceError, match=said) as caught:
        load_tokenizer(made, name="somewhere")
    assert "\n" not in str(caught.value)
    assert "/tersor-" not in str(caught.value)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no tokenizer that transformers can load .*beside"):
        load_tokenizer(tmp_path)
    with pytest.raises(SourceError, match="no such directory"):
        load_tokenizer(tmp_path / "absent")


def test_what_makes_the_tokenizers_library_panic(tmp_path: Path) -> None:
    made = directory(tmp_path)
    document = json.loads((made / "tokenizer.json").read_text())
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {},
    }
    (made / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(SourceError, match="no tokenizer that transformers can load"):
        load_tokenizer(made)
