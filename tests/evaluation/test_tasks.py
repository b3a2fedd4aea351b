"""Tasks from local files on a random model; nothing is fetched."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from local_task import save_task
from tersor.errors import MissingExtra, RecipeError
from tersor.evaluation import evaluate_tasks, find_tasks

_WORDS = 20


@pytest.fixture
def task_directory(tmp_path: Path) -> Path:
    questions = [
        {"question": f"w{i}", "choices": [f"w{i + 1}", "w0"], "answer": 0} for i in range(8)
    ]
    save_task(tmp_path, "next_number", questions)
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {f"w{i}": i for i in range(_WORDS)} | {"<unk>": _WORDS}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<unk>")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=_WORDS + 1,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def accuracy(model: Any, tokenizer: PreTrainedTokenizerFast, questions: int) -> float:
    """Answered by hand: is the next word likelier than w0?"""
    right = 0
    for i in range(questions):
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer.encode(f"w{i}")])).logits[0, -1]
        right += bool(logits[i + 1] > logits[0])
    return right / questions


@pytest.mark.filterwarnings("ignore")
def test_a_local_task(task_directory: Path, model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    environment, generator = dict(os.environ), torch.get_rng_state()
    found = evaluate_tasks(model, tokenizer, ["next_number"], include_path=task_directory, limit=5)
    assert found["results"]["next_number"]["acc,none"] == accuracy(model, tokenizer, 5)
    assert found["n-samples"]["next_number"] == {"original": 8, "effective": 5}
    assert found["versions"] == {"next_number": 3.0}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.filterwarnings("ignore")
def test_a_digest_knows_what_is_asked(task_directory: Path) -> None:
    def digest(limit: int | None = None) -> str:
        return find_tasks(["next_number"], include_path=task_directory, limit=limit).digest()

    first = digest()
    assert digest() == first
    assert digest(limit=3) != first
    questions = task_directory / "questions.jsonl"
    questions.write_text(questions.read_text().replace("w3", "w4"))
    other = digest()
    assert other != first
    file = task_directory / "next_number.yaml"
    file.write_text(file.read_text().replace("{{question}}", "Q: {{question}}"))
    assert digest() not in {first, other}


def test_an_unknown_task_is_corrected(
    task_directory: Path,
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lm_eval import tasks

    class LocalTasks(tasks.TaskManager):  # type: ignore[misc]
        """Spares this test the seconds that indexing lm-eval's own tasks takes."""

        def __init__(self, include_path: str, include_defaults: bool = False) -> None:
            super().__init__(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(tasks, "TaskManager", LocalTasks)
    with pytest.raises(
        RecipeError, match="'next_numbr', which is unknown; did you mean 'next_number'"
    ):
        evaluate_tasks(model, tokenizer, ["next_numbr"], include_path=task_directory)
    with pytest.raises(RecipeError, match="'zzz', which is unknown; lm_eval ls tasks lists them"):
        evaluate_tasks(model, tokenizer, ["next_number", "zzz"], include_path=task_directory)


def test_no_task_is_an_error(model: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(RecipeError, match="tasks names none"):
        evaluate_tasks(model, tokenizer, [])


def test_a_missing_directory_is_named(
    tmp_path: Path, model: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(RecipeError, match="nowhere: no such directory"):
        evaluate_tasks(model, tokenizer, ["x"], include_path=tmp_path / "nowhere")


def test_without_lm_eval_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, model: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'tersor\[tasks\]'"):
        evaluate_tasks(model, tokenizer, ["arc_easy"])
