"""generate, chat and bench as a stranger uses them."""

import json
from pathlib import Path

import pytest

from tersor.cli.main import run
from tiny_models import save_tiny, save_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    return tmp_path / "model"


def output(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_generate_with_every_option(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--max-new-tokens 9 --temperature 0.8 --top-k 20 --top-p 0.9 --min-p 0.01 --seed 4"
    more = "--stop zzz --speculate 3 --activation-bits 16 --cache int8 --context 64 --threads 1"
    options = [*flags.split(), *more.split()]
    first = output(capsys, "generate", model, "--prompt", "hello", *options)
    assert first == output(capsys, "generate", model, "--prompt", "hello", *options)
    assert 1 < len(first.split(" ")) <= 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "hi", "--top-p", "0"], "top-p"),
        (["--prompt", "hi", "--cache", "int3"], "int3"),
        (["--prompt", "hi" * 50, "--context", "20"], "--context"),
    ],
)
def test_generate_explains_what_is_wrong(
    model: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", str(model), *flags]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "bug" not in captured.err
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_options_of_the_engine_without_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--cache", "int8"], ["--activation-bits", "16"]):
        assert run(["evaluate", str(model), *flags]) == 1
        assert "add --engine" in capsys.readouterr().err


def test_other_architectures_run_under_transformers_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny("opt", tmp_path)
    save_tokenizer(tmp_path)
    with pytest.warns(UserWarning, match="does not run architecture 'opt'.*; transformers does"):
        text = output(capsys, "generate", tmp_path, "--prompt", "hello", "--max-new-tokens", "5")
    assert len(text) > 1


def test_chat_in_a_pipe(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["hi", "", "/clear", "x" * 400])

    def ask(prompt: str) -> str:
        for line in said:
            return line
        raise EOFError(prompt)

    monkeypatch.setattr("builtins.input", ask)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["chat_template"] = TEMPLATE
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    printed = output(capsys, "chat", model, "--max-new-tokens", "5")
    assert "/clear forgets" in printed


def test_bench_json_has_one_rate_per_repetition(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--prompt-tokens", "20", "--new-tokens", "4", "--repetitions", "2", "--batch", "2"]
    document = json.loads(output(capsys, "bench", model, *flags, "--json"))
    assert len(document["prefill"]) == len(document["decode"]) == 2
    text = output(capsys, "bench", model, *flags)
    assert "prefill" in text
    assert "GB/s" in text
