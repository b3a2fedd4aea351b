"""generate, chat and bench as a stranger uses them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    options = [*flags.split(), *more.split(), "--repetition-penalty", "1.3"]
    first = output(capsys, "generate", model, "--prompt", "hello", *options)
    assert first == output(capsys, "generate", model, "--prompt", "hello", *options)
    assert 1 < len(first.split(" ")) <= 10


@pytest.mark.parametrize(
    ("flags", "message", "status"),
    [
        (["--prompt", ""], "the prompt is empty", 1),
        (["--prompt", "hi", "--top-p", "0"], "--top-p must be", 2),
        (["--prompt", "hi", "--cache", "int3"], "int3", 2),
        (["--prompt", "hi" * 50, "--context", "20"], "--context", 1),
    ],
)
def test_generate_explains_what_is_wrong(
    model: Path, flags: list[str], message: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", str(model), *flags]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "bug" not in captured.err
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_options_of_the_engine_without_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--cache", "int8"], ["--activation-bits", "16"]):
        assert run(["evaluate", str(model), *flags]) == 2
        assert "has no effect without --engine" in capsys.readouterr().err


def test_options_of_the_engine_where_transformers_runs_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny("opt", tmp_path)
    save_tokenizer(tmp_path)
    for flag, value in (("--cache", "int8"), ("--threads", "1"), ("--speculate", "2")):
        capsys.readouterr()
        assert run(["generate", str(tmp_path), "--prompt", "hello", flag, value]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {flag} has no effect, leave it out: ")
        assert "does not run architecture 'opt'" in said


def test_other_architectures_run_under_transformers_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny("opt", tmp_path)
    save_tokenizer(tmp_path)
    with pytest.warns(UserWarning, match="does not run architecture 'opt'.*; transformers does"):
        text = output(capsys, "generate", tmp_path, "--prompt", "hello", "--max-new-tokens", "5")
    assert len(text) > 1


def test_how_tokens_are_chosen_is_not_the_checkpoints_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some ways that a file may ask for are code on a hub."""
    save_tiny("opt", tmp_path)
    save_tokenizer(tmp_path)
    command = ("generate", tmp_path, "--prompt", "hello", "--max-new-tokens", "5")
    with pytest.warns(UserWarning, match="transformers does"):
        plain = output(capsys, *command)
    file = tmp_path / "generation_config.json"
    asked = {"penalty_alpha": 0.6, "top_k": 4, "num_beams": 3, "no_repeat_ngram_size": 1}
    file.write_text(json.dumps(json.loads(file.read_text()) | asked))
    with pytest.warns(UserWarning, match="transformers does"):
        assert output(capsys, *command) == plain


def spoil_weights(model: Path) -> None:
    """Leave the header of the weights and make all values NaN, which is refused on reading."""
    file = model / "model.safetensors"
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    file.write_bytes(data[:start] + b"\xff" * (len(data) - start))


def chatting(
    model: Path, monkeypatch: pytest.MonkeyPatch, template: str, *said: str
) -> Iterator[str]:
    """Give the model a template and the chat what to say; what was not said yet is left."""
    lines = iter(said)

    def ask(prompt: str) -> str:
        for line in lines:
            return line
        raise EOFError(prompt)

    monkeypatch.setattr("builtins.input", ask)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["chat_template"] = template
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    return lines


def test_chat_in_a_pipe(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chatting(model, monkeypatch, TEMPLATE, "hi", "", "/reset", "x" * 400)
    assert run(["chat", str(model), "--max-new-tokens", "5"]) == 0
    found = capsys.readouterr()
    assert len(found.out.splitlines()) == 1  # the answer and nothing else
    cut, refused = found.err.splitlines()
    assert cut == "cut off after 5 tokens; --max-new-tokens asks for more"
    assert refused.startswith("error: the prompt has ")
    assert refused.endswith("/reset forgets what was said")


def test_a_chat_goes_on_after_a_turn_that_the_template_refuses(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = "{% if messages | length > 2 %}{{ raise_exception('enough') }}{% endif %}"
    left = chatting(model, monkeypatch, twice + TEMPLATE, "hi", "and?", "/clear", "hi")
    assert run(["chat", str(model), "--max-new-tokens", "5", "--temperature", "0"]) == 0
    found = capsys.readouterr()
    first, again = found.out.splitlines()
    assert first == again
    (refused,) = [line for line in found.err.splitlines() if line.startswith("error: ")]
    assert "tokenizer_config.json: chat_template refuses the conversation (enough)" in refused
    assert not list(left)


@pytest.mark.parametrize(
    ("template", "flags", "said"),
    [
        ("{% for m in messages %}", [], "line 1: Unexpected end of template"),
        ("{{ nobody.name }}", [], "'nobody' is undefined"),
        ("hello", [], "renders nothing of what the messages say"),
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
            + TEMPLATE,
            ["--system", "be brief"],
            "leave out --system",
        ),
    ],
)
def test_a_chat_that_cannot_be_ends_before_weights_are_read(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    template: str,
    flags: list[str],
    said: str,
) -> None:
    chatting(model, monkeypatch, template, "hi")
    spoil_weights(model)
    assert run(["chat", str(model), *flags]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert said in found.err
    assert str(model / "tokenizer_config.json") in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("generation_config.json", {"eos_token_id": "2"}, "eos_token_id is '2', not a token from"),
        ("generation_config.json", {"max_new_tokens": -1}, "max_new_tokens is -1, not a whole"),
        ("generation_config.json", [], "expected a JSON object, found a list"),
        ("config.json", {"model_type": ["llama"]}, "model_type in config.json is ['llama'], not"),
        ("config.json", {"id2label": 5}, "config.json (field 'id2label': AttributeError"),
        ("config.json", {"model_type": "mystery"}, "does not know model_type 'mystery'"),
    ],
)
@pytest.mark.parametrize(
    "command", [["generate", "--prompt", "a"], ["bench"], ["evaluate", "--context", "8"]]
)
def test_settings_are_looked_at_before_weights(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    change: Any,
    said: str,
    command: list[str],
) -> None:
    settings = json.loads((model / file).read_text())
    damaged = settings | change if isinstance(change, dict) else change
    (model / file).write_text(json.dumps(damaged))
    name, *flags = command
    assert run([name, str(model), *flags]) == 1
    found = capsys.readouterr()
    assert said in found.err
    assert str(model) in found.err
    assert found.err.count("\n") == 1


def test_bench_json_has_one_rate_per_repetition(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--prompt-tokens", "20", "--new-tokens", "4", "--repetitions", "2", "--batch", "2"]
    document = json.loads(output(capsys, "bench", model, *flags, "--json"))
    assert len(document["prefill"]) == len(document["decode"]) == 2
    text = output(capsys, "bench", model, *flags)
    assert "prefill" in text
    assert "GB/s" in text


def test_a_broken_tokenizer_is_found_before_weights_are_read(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "tokenizer.json").write_text("{}")
    spoil_weights(model)
    assert run(["generate", str(model), "--prompt", "a"]) == 1
    assert "no tokenizer that transformers can load" in capsys.readouterr().err
