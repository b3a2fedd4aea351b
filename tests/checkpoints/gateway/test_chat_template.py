"""Templates of every kind: right text, or one line that names the file and the way out."""

from pathlib import Path
from typing import Any

import pytest

from tersor.checkpoints.gateway.chat_template import ChatTemplate
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tersor.errors import MissingExtra, SourceError, TextError
from tiny_models import save_tokenizer

TEXTS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)
# Breaks where a text is given.
FIRST_PART = "{% for m in messages %}<{{ m.role }}>{{ m.content[0]['text'].strip() }}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
TALK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Hi  there"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    save_tokenizer(path)
    (path / "chat_template.jinja").write_text(TEXTS)
    return path


@pytest.fixture(scope="module")
def tokenizer(home: Path) -> Any:
    return load_tokenizer(home)


def made(tokenizer: Any, template: Any) -> ChatTemplate:
    tokenizer.chat_template = template
    return ChatTemplate(tokenizer)


@pytest.mark.parametrize("template", [TEXTS, PARTS, FIRST_PART, {"other": "x", "default": PARTS}])
def test_contents_as_the_template_wants_them(tokenizer: Any, template: Any) -> None:
    found = made(tokenizer, template)
    found.check("be brief")
    assert found.render(TALK, answer_next=True) == "<system>be brief<user>Hi  there"


def test_what_becomes_something_else_of_a_text_is_taken_as_it_is(tokenizer: Any) -> None:
    spelled = "{% for m in messages %}{{ m.content | list | join('-') }}{% endfor %}"
    assert made(tokenizer, spelled).render(TALK[1:]) == "H-i- - -t-h-e-r-e"
    assert made(tokenizer, "{{ messages[0].content | upper }}").render(TALK[1:]) == "HI  THERE"


@pytest.mark.parametrize("template", ["", "x", "{{ bos_token }}", "{{ messages[0].text }}"])
def test_nothing_of_what_was_said(tokenizer: Any, template: str) -> None:
    if not template:
        tokenizer.chat_template = template
        assert not ChatTemplate.exists(tokenizer)
        return
    with pytest.raises(
        SourceError, match=r"chat_template\.jinja.* renders nothing of what the mess"
    ):
        made(tokenizer, template).check()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% for m in messages %}",
            r"jinja: the chat template, line 1: Unexpected end of template",
        ),
        ("{{ messages | nonsense }}", "No filter named 'nonsense'"),
        ("{{ nobody.content }}", "UndefinedError: 'nobody' is undefined; repair the"),
        ("{{ nothing() }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages + 5 }}", "TypeError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% include 'x' %}", "repair the template"),
        ("{% for i in range(1000000) %}{% endfor %}", "OverflowError: Range too big"),
    ],
)
def test_broken_templates(tokenizer: Any, home: Path, template: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        made(tokenizer, template).check("be brief")
    assert str(caught.value).startswith(str(home / "chat_template.jinja"))
    assert "\n" not in str(caught.value)


def test_a_template_that_takes_no_system_message(tokenizer: Any) -> None:
    found = made(tokenizer, NO_SYSTEM + TEXTS)
    found.check()
    with pytest.raises(TextError, match=r"no system message .no system.; leave out --system"):
        found.check("be brief")
    with pytest.raises(TextError, match=r"refuses the conversation .no system.; change it"):
        found.render(TALK)


def test_a_template_that_leaves_the_system_message_out(tokenizer: Any) -> None:
    users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    made(tokenizer, users).check()
    with pytest.raises(TextError, match=r"it leaves it out.; leave out --system"):
        made(tokenizer, users).check("be brief")


def test_a_template_that_wants_a_system_message(tokenizer: Any) -> None:
    wants = "{% if messages[0].role != 'system' %}{{ raise_exception('who am I') }}{% endif %}"
    made(tokenizer, wants + TEXTS).check("be brief")
    with pytest.raises(TextError, match="who am I"):
        made(tokenizer, wants + TEXTS).check()


def test_an_old_jinja(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tersor.checkpoints.gateway.sandbox.version", lambda _: "3.1.5")
    with pytest.raises(MissingExtra, match=r"jinja2 3\.1\.6 or newer, not 3\.1\.5 .pip install"):
        made(tokenizer, TEXTS).render(TALK)


def test_several_templates_without_a_default(tokenizer: Any) -> None:
    with pytest.raises(SourceError, match="none of 'a', 'b' is called default"):
        made(tokenizer, {"a": TEXTS, "b": TEXTS})
    with pytest.raises(SourceError, match="is 5, not a text"):
        made(tokenizer, 5)


def test_the_place_of_a_template(tokenizer: Any, tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    other = load_tokenizer(tmp_path)
    other.chat_template = TEXTS
    assert ChatTemplate(other).place == f"{tmp_path / 'tokenizer_config.json'}: chat_template"
    other.name_or_path = ""
    assert ChatTemplate(other).place == "the tokenizer's chat template"
