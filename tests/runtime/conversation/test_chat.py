"""A conversation keeps what was said, and the engine what it has computed of it."""

from pathlib import Path

import pytest

from tersor.errors import SourceError, TextError
from tersor.runtime.conversation.chat import Conversation
from tersor.runtime.engine.engine import Engine
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


@pytest.mark.parametrize(
    ("template", "kind", "said"),
    [
        ("{{ raise_exception('not today') }}", TextError, "refuses the conversation .not today."),
        ("{% for m in messages %}", SourceError, "chat_template, line 1: .*repair the template"),
        ("{{ nobody.name }}", SourceError, "'nobody' is undefined"),
        ("hello", SourceError, "renders nothing of what the messages say"),
    ],
)
def test_templates_no_conversation_is_possible_with(
    engine: Engine, template: str, kind: type[Exception], said: str
) -> None:
    engine.tokenizer.chat_template = template
    with pytest.raises(kind, match=said):
        Conversation(engine)


def test_a_refused_system_message_is_said_at_once(engine: Engine) -> None:
    engine.tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    )
    with pytest.raises(TextError, match="leave out --system"):
        Conversation(engine, system="be brief")
    assert "".join(Conversation(engine).answer("hi", max_new_tokens=3))


@pytest.mark.parametrize(
    ("failure", "kind"),
    [("raise_exception('too long')", TextError), ("nobody.name", SourceError)],
)
def test_a_turn_that_the_template_fails_on_is_dropped(
    engine: Engine, failure: str, kind: type[Exception]
) -> None:
    fails = f"{{% if messages | length > 2 %}}{{{{ {failure} }}}}{{% endif %}}"
    engine.tokenizer.chat_template = fails + TEMPLATE
    conversation = Conversation(engine)
    first = "".join(conversation.answer("hi", max_new_tokens=3))
    with pytest.raises(kind):
        next(conversation.answer("and?", max_new_tokens=3))
    assert [m["content"] for m in conversation.messages] == ["hi", first]
    conversation.clear()
    assert "".join(conversation.answer("hi", max_new_tokens=3)) == first


def test_templates_that_want_parts_are_given_parts(engine: Engine) -> None:
    engine.tokenizer.chat_template = TEMPLATE
    expected = "".join(Conversation(engine, system="be brief").answer("hi", max_new_tokens=5))
    engine.tokenizer.chat_template = TEMPLATE.replace(
        "{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}"
    )
    found = Conversation(engine, system="be brief").answer("hi", max_new_tokens=5)
    assert "".join(found) == expected
