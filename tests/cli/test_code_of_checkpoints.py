"""Whatever code a checkpoint brings, no command runs it and none asks whether to."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tersor.cli.main import run
from tiny_models import save_text, save_tiny, save_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:"
AUTOS = (
    "AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText",
    "AutoProcessor", "AutoImageProcessor", "AutoFeatureExtractor",
)  # fmt: skip
TASK = """
task: letters
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/questions.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["b", "c"]
doc_to_target: 0
metric_list: [{{metric: acc}}]
"""


def bring_code(model: Path, marker: Path) -> None:
    """Name code in every place from which transformers takes some; it writes ``marker``."""
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    (model / "evil.py").write_text(code)
    (model / "custom_generate").mkdir()
    (model / "custom_generate" / "generate.py").write_text(code)
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        file = model / name
        settings = json.loads(file.read_text()) if file.exists() else {}
        settings["auto_map"] = dict.fromkeys(AUTOS, "evil.Evil")
        settings["auto_map"]["AutoTokenizer"] = ["evil.Evil", "evil.Evil"]
        file.write_text(json.dumps(settings))
    processor = {"auto_map": dict.fromkeys(AUTOS, "evil.Evil"), "processor_class": "Evil"}
    for name in ("processor_config.json", "preprocessor_config.json"):
        (model / name).write_text(json.dumps(processor))


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


NO_PROMPT = ""  # what a conversation asks with where there is no keyboard


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "the code was run"


@pytest.fixture
def model(tmp_path: Path, marker: Path) -> Path:
    """A type that transformers has, whose directory names code all the same."""
    path = tmp_path / "model"
    save_tiny("llama", path)
    save_tokenizer(path)
    change(path / "tokenizer_config.json", chat_template=TEMPLATE, eos_token="~")
    bring_code(path, marker)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was asked; the answer is always y, and a conversation ends after two."""
    questions: list[str] = []

    def ask(prompt: str = "") -> str:
        questions.append(prompt)
        if prompt == NO_PROMPT and questions.count(prompt) % 3 == 0:
            raise EOFError
        return "y"

    monkeypatch.setattr("builtins.input", ask)
    yield questions
    assert set(questions) <= {NO_PROMPT}


def done(*arguments: object) -> bool:
    return run([str(argument) for argument in arguments], debug=True) == 0


@pytest.mark.usefixtures("asked")
def test_commands_that_make_a_model(
    model: Path, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = save_text(tmp_path / "text.txt", 600)
    window = ("--tokens", 128, "--window", 32, "--calibration", text)
    assert done("quantize", model, "-o", tmp_path / "w4", "--recipe", "w4")
    assert "own code (evil.Evil) is copied, and not run" in capsys.readouterr().out
    assert done("quantize", model, "-o", tmp_path / "gptq", "--recipe", "gptq", *window)
    short = ("--windows", 1, "--context", 32, "--text", text)
    (tmp_path / "compared").mkdir()
    assert done("compare", model, "--recipes", "w4", "-o", tmp_path / "compared", *short)
    assert (tmp_path / "w4" / "evil.py").exists()  # it travels with the model, and is not run
    assert not marker.exists()


def test_commands_that_run_a_model(
    model: Path, marker: Path, tmp_path: Path, asked: list[str]
) -> None:
    text = save_text(tmp_path / "text.txt", 600)
    short = ("--windows", 1, "--context", 32, "--text", text)
    assert done("quantize", model, "-o", tmp_path / "w4")
    for directory in (model, tmp_path / "w4"):
        assert done("evaluate", directory, *short, "--base", model)
        assert done("evaluate", directory, *short, "--engine")
        assert done("generate", directory, "--prompt", "ab", "--max-new-tokens", 2)
        assert done("chat", directory, "--max-new-tokens", 2)
        assert done("bench", directory, "--prompt-tokens", 4, "--new-tokens", 2)
    assert asked == [NO_PROMPT] * 6
    assert not marker.exists()


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval not installed")
@pytest.mark.usefixtures("asked")
def test_tasks(model: Path, marker: Path, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"question": "a"}\n{"question": "b"}\n')
    (tmp_path / "letters.yaml").write_text(TASK.format(folder=tmp_path))
    text = save_text(tmp_path / "text.txt", 600)
    short = ("--windows", 1, "--context", 32, "--text", text)
    assert done("evaluate", model, *short, "--tasks", "letters", "--task-path", tmp_path)
    assert not marker.exists()


@pytest.mark.usefixtures("asked")
def test_a_type_that_only_the_checkpoint_knows(
    model: Path, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(model / "config.json", model_type="evil")
    change(model / "tokenizer_config.json", tokenizer_class="Evil")
    text = save_text(tmp_path / "text.txt", 600)
    assert done("quantize", model, "-o", tmp_path / "w4")  # which needs no model
    capsys.readouterr()
    out = ("-o", tmp_path / "out")
    for command in (
        ("restore", model, *out),
        ("quantize", model, *out, "--recipe", "gptq", "--calibration", text),
        ("compare", model, "--recipes", "w4", *out, "--text", text),
        ("evaluate", model, "--text", text),
        ("evaluate", model, "--text", text, "--engine"),
        ("generate", model, "--prompt", "ab"),
        ("chat", model),
        ("bench", model),
        ("generate", tmp_path / "w4", "--prompt", "ab"),
    ):
        assert run([str(argument) for argument in command]) == 1, command
        said = capsys.readouterr().err
        assert "never run" in said or command[0] in ("restore", "quantize"), said
        assert "a bug in tersor" not in said
    assert not marker.exists()


def test_yes_in_a_pipe(model: Path, marker: Path) -> None:
    """As a stranger does it, with what transformers takes for a class of tokenizers: all of it."""
    change(model / "tokenizer_config.json", tokenizer_class="AutoModelForCausalLM", auto_map={})
    change(model / "config.json", model_type="evil")
    code = "import sys; from tersor.cli.main import main; main()"
    command = [sys.executable, "-c", code, "evaluate", str(model)]
    found = subprocess.run(
        f"yes | {shlex.join(command)}",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_MODULES_CACHE": str(model.parent / "modules")},
        check=False,
    )
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert found.stderr.count("\n") == 1
    assert not marker.exists()
