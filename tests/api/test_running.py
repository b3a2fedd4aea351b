"""``generate`` and ``stream``: prompts, messages, stop strings, draws."""

import json
from pathlib import Path
from typing import Any

import pytest

import tersor
from tersor.errors import OptionError, TextError
from tersor.runtime.engine.engine import Engine
from tersor.runtime.engine.sampling import Sampling
from tiny_models import save_tiny, save_tokenizer

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
RENDERED = "[system]be brief[user]hello[assistant]"


def saved(directory: Path, family: str, template: str | None = TEMPLATE) -> Path:
    save_tiny(family, directory)
    save_tokenizer(directory)
    if template is not None:
        file = directory / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    return directory


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("running") / "model", "llama")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that the engine runs, and one that transformers runs."""
    return saved(tmp_path_factory.mktemp("any") / "model", request.param)


def by_engine(model: Path, prompt: Any, count: int = 12, **options: Any) -> str:
    made = Engine(model).generate(prompt, max_new_tokens=count, **options)
    return "".join(token.text for token in made)


def test_the_pieces_are_the_whole(model: Path) -> None:
    pieces = list(tersor.stream(model, "hello", max_new_tokens=12))
    assert len(pieces) > 1
    whole = tersor.generate(model, "hello", max_new_tokens=12)
    assert "".join(pieces) == whole == by_engine(model, "hello")


def test_draws_are_those_of_the_engine(model: Path) -> None:
    found = tersor.generate(
        model, "hello", max_new_tokens=12, temperature=1.5, top_p=0.9, top_k=40, seed=3
    )
    sampling = Sampling(temperature=1.5, top_p=0.9, top_k=40, seed=3)
    assert found == by_engine(model, "hello", sampling=sampling)
    assert found != tersor.generate(model, "hello", max_new_tokens=12)


@pytest.mark.filterwarnings("ignore:tersor's engine does not run")
def test_messages_go_through_the_chat_template(any_model: Path) -> None:
    found = tersor.generate(any_model, MESSAGES, max_new_tokens=8)
    plain = tersor.generate(any_model, RENDERED, max_new_tokens=8)
    assert found == plain  # this tokenizer puts nothing in front
    assert found != tersor.generate(any_model, "hello", max_new_tokens=8)


@pytest.mark.filterwarnings("ignore:tersor's engine does not run")
def test_one_stop_string_or_several(any_model: Path) -> None:
    whole = tersor.generate(any_model, "hello", max_new_tokens=12)
    end = whole[len(whole) // 2 :][:2]
    cut = whole[: whole.index(end)]
    for stop in (end, [end], ("never there", end)):
        assert tersor.generate(any_model, "hello", max_new_tokens=12, stop=stop) == cut


def test_messages_without_a_template(tmp_path: Path) -> None:
    bare = saved(tmp_path / "bare", "llama", template=None)
    with pytest.raises(TextError, match="has no chat template; give the prompt as text"):
        tersor.generate(bare, MESSAGES)


@pytest.mark.parametrize(
    "prompt", [[], [{"role": "user"}], ["hello"], [MESSAGES[0], "hello"], MESSAGES[0], 3]
)
def test_what_is_no_prompt(prompt: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"^prompt must be text, or a list of \{\"role\""):
        tersor.stream(tmp_path / "nowhere", prompt)


def test_what_only_draws_hear(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="top_p has no effect while temperature is 0"):
        tersor.generate(tmp_path / "nowhere", "hello", top_p=0.9)


def test_a_conversation_remembers(model: Path) -> None:
    talk = tersor.converse(model, system="be brief", temperature=0.8, seed=5)
    first = "".join(talk.answer("hello", max_new_tokens=5))
    assert talk.messages == [*MESSAGES, {"role": "assistant", "content": first}]
    drawn = {"temperature": 0.8, "seed": 5}
    assert first == tersor.generate(model, MESSAGES, max_new_tokens=5, **drawn)


def test_a_conversation_needs_a_template(tmp_path: Path) -> None:
    bare = saved(tmp_path / "bare", "llama", template=None)
    with pytest.raises(TextError, match="no chat template"):
        tersor.converse(bare)
