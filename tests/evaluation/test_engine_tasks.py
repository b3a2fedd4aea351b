"""lm-eval's requests answered by the engine are those that transformers would answer."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from local_task import save_task
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.cli.main import run
from tersor.errors import TextError
from tersor.evaluation import find_tasks
from tersor.evaluation.engine_tasks import EngineTasks
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.load import load
from tiny_models import save_text, save_tiny, save_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    settings = tmp_path / "model" / "tokenizer_config.json"
    # lm-eval puts it where a context is empty.
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": chr(2)}))
    return tmp_path / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    questions = [{"question": q, "choices": ["k", "x"], "answer": 0} for q in "abcdefgh"]
    save_task(tmp_path, "next_letter", questions)
    return tmp_path


def request(*given: object) -> SimpleNamespace:
    return SimpleNamespace(args=given)


def test_likelihoods_are_those_of_transformers(model: Path) -> None:
    engine = Engine(model, activation_bits=16, cache="float32", context=16)
    answers = EngineTasks(engine, load_tokenizer(engine.directory))
    said = answers.loglikelihood([request("hello", " world"), request("hello", " you")])
    reference = load(model)
    for continuation, (likely, _) in zip((" world", " you"), said, strict=True):
        tokens = engine.tokenizer.encode("hello" + continuation)
        with torch.no_grad():
            logits = reference(torch.tensor([tokens[:-1]])).logits[0].log_softmax(-1)
        expected = sum(float(logits[i, tokens[i + 1]]) for i in range(4, len(tokens) - 1))
        assert likely == pytest.approx(expected, abs=1e-3)


def test_what_is_longer_than_the_context_loses_its_beginning(model: Path) -> None:
    answers = EngineTasks(Engine(model, context=8), load_tokenizer(model))
    asked = [request("xyz" * 9 + "abcdefg", "h"), request("abcdefg", "h")]
    long, short = answers.loglikelihood(asked)
    assert long[0] != short[0]  # a context of 8 has one more token in front of abcdefg
    assert answers.loglikelihood([request("zabcdefg", "h")])[0] == long


def test_continuations_stop_where_the_engine_stops(model: Path) -> None:
    engine = Engine(model)
    whole = "".join(token.text for token in engine.generate("hello", max_new_tokens=9))
    answers = EngineTasks(engine, load_tokenizer(engine.directory))
    assert answers.generate_until([request("hello", {"max_gen_toks": 9, "until": []})]) == [whole]
    until = {"max_gen_toks": 9, "until": [whole[4]]}
    assert answers.generate_until([request("hello", until)]) == [whole[: whole.index(whole[4])]]


@pytest.mark.filterwarnings("ignore")
def test_evaluate_runs_tasks_by_the_engine_with_its_options(
    model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened: list[EngineOptions] = []

    def opening(self: EngineOptions, directory: Path, *, batch: int = 1) -> Engine:
        opened.append(self)
        return Engine(
            directory, activation_bits=self.activation_bits, cache=self.cache, batch=batch
        )

    monkeypatch.setattr(EngineOptions, "open", opening)
    text = save_text(folder / "text.txt", 200)
    tasks = ["--tasks", "next_letter", "--task-path", str(folder)]
    flags = ["--engine", "--activation-bits", "16", "--cache", "float32"]
    capsys.readouterr()
    scored = ["--text", str(text), "--context", "32"]
    assert run(["evaluate", str(model), *scored, *tasks, *flags, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one.activation_bits, one.cache) for one in opened] == [(16, "float32")] * 2
    found = find_tasks("next_letter", include_path=folder)
    by_model = found.by_model(load(model), load_tokenizer(model))
    assert document["tasks"]["results"] == by_model["results"]


@pytest.mark.filterwarnings("ignore")
def test_a_tokenizer_without_first_and_last_token(model: Path, folder: Path) -> None:
    save_tokenizer(model)
    found = find_tasks("next_letter", include_path=folder)
    engine = Engine(model)
    with pytest.raises(TextError, match="neither"):
        found.by_engine(engine)
    with pytest.raises(TextError, match="neither"):
        found.by_model(load(model), load_tokenizer(model))


@pytest.mark.filterwarnings("ignore")
def test_what_was_measured_is_shown_if_tasks_fail(
    model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("tersor.evaluation.tasks.Tasks._run", failing)
    text = save_text(folder / "text.txt", 200)
    tasks = ["--tasks", "next_letter", "--task-path", str(folder)]
    given = ["evaluate", str(model), "--text", str(text), "--context", "32", *tasks]
    for extra in ([], ["--json"]):
        capsys.readouterr()
        assert run([*given, *extra]) == 1
        assert "perplexity" in capsys.readouterr().out


def test_data_on_a_hub_that_is_off(folder: Path) -> None:
    """The error of the library is one of ours, before any model is opened."""
    (folder / "far.yaml").write_text(
        "task: far\ndataset_path: nobody/nothing\noutput_type: multiple_choice\n"
        "doc_to_text: q\ndoc_to_choice: c\ndoc_to_target: a\ntest_split: test\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        with pytest.raises(TextError, match="task far: its data"):
            find_tasks("far", include_path=folder)
