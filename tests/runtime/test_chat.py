"""A conversation keeps what was said, and the engine what it has computed of it."""

from pathlib import Path

import pytest

from tersor.errors import TextError
from tersor.runtime.chat import Conversation
from tersor.runtime.engine import Engine
from tiny_models import save_tiny, save_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    save_tiny("llama", tmp_path)
    save_tokenizer(tmp_path)
    made = Engine(tmp_path)
    made.ends = frozenset()
    return made


def test_answers_become_part_of_the_conversation(engine: Engine) -> None:
    engine.tokenizer.chat_template = TEMPLATE
    conversation = Conversation(engine, system="be brief")
    first = "".join(conversation.answer("hi", max_new_tokens=5))
    assert [m["role"] for m in conversation.messages] == ["system", "user", "assistant"]
    assert conversation.messages[-1]["content"] == first
    second = conversation.answer("and?", max_new_tokens=5)
    shown = next(second)
    second.close()  # as Ctrl-C does
    assert conversation.messages[-1]["content"] == shown
    conversation.clear()
    assert [m["role"] for m in conversation.messages] == ["system"]


def test_a_question_that_cannot_be_answered_leaves_no_trace(engine: Engine) -> None:
    engine.tokenizer.chat_template = TEMPLATE
    conversation = Conversation(engine)
    with pytest.raises(TextError, match="context"):
        next(conversation.answer("x" * 500, max_new_tokens=5))
    assert conversation.messages == []


def test_without_a_template(engine: Engine) -> None:
    with pytest.raises(TextError, match="no chat template"):
        Conversation(engine)
