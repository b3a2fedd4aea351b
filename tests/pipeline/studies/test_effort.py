"""What evaluations say they will take, before they start."""

from pathlib import Path
from typing import Any

import pytest
import torch

import tersor
from tersor.cli.main import run
from tersor.pipeline.studies import effort
from tersor.pipeline.studies.effort import Effort, foreseen
from tiny_models import save_text, save_tiny, save_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    save_text(tmp_path / "text.txt", 700)
    return tmp_path / "model"


def test_time_grows_with_tokens_and_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each 4 tokens of one model; the part that is tried is an eighth of a window."""
    tried = []

    def timed(model: Any, base: Any, windows: torch.Tensor) -> float:
        tried.append((base, tuple(windows.shape)))
        return windows.numel() / 4

    monkeypatch.setattr(effort, "_timed", timed)
    texts = [torch.zeros(5, 64, dtype=torch.int64), torch.zeros(2, 32, dtype=torch.int64)]
    whole: Any = object()
    found = foreseen(texts, whole, None, models=3)
    assert found == Effort(7, 5 * 64 + 2 * 32, 3, 3 * (5 * 64 + 2 * 32) / 4)
    assert tried == [(None, (1, 8))]
    assert foreseen(texts, whole, whole, models=1).models == 2


def test_what_is_quick_is_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.9, 0.1])
    monkeypatch.setattr(effort, "_timed", lambda *_: next(seconds))
    whole: Any = object()
    found = foreseen([torch.zeros(2, 80, dtype=torch.int64)], whole, None, models=1)
    assert found.seconds == pytest.approx(0.1 * 160 / 10)


@pytest.mark.parametrize("context", [2, 3, 16])
def test_short_windows_are_scored_all_the_same(context: int, model: Path) -> None:
    begun: list[Effort] = []
    text = model.parent / "text.txt"
    found = tersor.evaluate(model, text=text, context=context, windows=2, begun=begun.append)
    assert found.evaluations[0].tokens == 2 * (context - 1)
    assert (begun[0].tokens, begun[0].seconds is None) == (2 * context, context == 2)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Effort(1, 1024, 1, None), "scoring 1024 tokens in 1 window by 1 model"),
        (Effort(8, 8192, 2, 3.2), "scoring 8192 tokens in 8 windows by 2 models: a few seconds"),
        (
            Effort(8, 8192, 2, 203.4),
            "scoring 8192 tokens in 8 windows by 2 models: about 3 min 20 s; --windows N scores "
            "fewer",
        ),
    ],
)
def test_lines(found: Effort, said: str) -> None:
    assert found.line() == said


def test_commands_say_it_before_results_and_not_beside_json(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--text", str(model.parent / "text.txt"), "--context", "32", "--windows", "3"]
    assert run(["evaluate", str(model), "--base", str(model), *given]) == 0
    found = capsys.readouterr()
    assert found.err.startswith("scoring 96 tokens in 3 windows by 2 models: ")
    assert found.err.count("\n") == 1
    assert "scoring" not in found.out
    assert run(["evaluate", str(model), *given, "--json"]) == 0
    assert capsys.readouterr().err == ""
    out = ["--recipes", "vanilla-int8", "-o", str(model.parent / "out")]
    assert run(["compare", str(model), *out, *given]) == 0
    assert "scoring 96 tokens in 3 windows by 3 models" in capsys.readouterr().err


def test_it_is_said_before_anything_is_scored(model: Path) -> None:
    heard: list[Any] = []
    tersor.evaluate(
        model,
        text=model.parent / "text.txt",
        context=32,
        windows=2,
        begun=heard.append,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert isinstance(heard[0], Effort)
    assert heard[1:] == [(1, 2), (2, 2)]
