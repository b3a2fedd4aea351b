"""Templates find what transformers gives them: same text, same refusals, and no way out."""

from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import SecurityError

from tersor.checkpoints.gateway.sandbox import CompiledTemplate
from tersor.checkpoints.gateway.tokenizer import load_tokenizer
from tiny_models import save_tokenizer

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "be <b>brief</b> & kind, “ünï”"},
    {"role": "user", "content": "Hi\n there", "name": None},
    {"role": "assistant", "content": "4", "reasoning": "2 + 2"},
    {"role": "user", "content": "", "tool_calls": [{"arguments": {"z": 1, "a": [None, 2.5]}}]},
]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = [
    CHATML,
    # Blocks on lines of their own leave no blank lines.
    "{{ bos_token }}\n  {% for m in messages %}\n    {{ m.content }}\n  {% endfor %}\n end ",
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "{{ messages | tojson }}{{ messages | tojson(indent=2) }}"
    "{{ messages[3].tool_calls | tojson(true, sort_keys=true, separators=(',', ':')) }}",
    "{% for m in messages %}{% generation %}{% set x = m.role %}{{ x }}:{% endgeneration %}"
    "{{ x }}|{% endfor %}",
    "{% set n = namespace(found=false, self=1) %}{% for m in messages %}{% set n.found = m.role %}"
    "{% endfor %}{{ n.found }}{{ n.self }}",
    "{% for m in messages %}{{ m.keys() | list }}{{ m.thinking }}{{ m.reasoning_content }}"
    "{{ m.name is defined }}{% endfor %}",
    "{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ unk_token }}",
    "{{ dict(a=1, **{'b': 2}) }}{{ dict.fromkeys(['x', 'y'], 3) }}{{ eos_token }}",
    "{%- macro shout(text) -%}\n  {{ text | upper | trim }}\n{%- endmacro -%}"
    "{{ shout(messages[0].content) }}{{ messages[0]['content'][3:6] }}{{ messages | length }}",
    "{{ messages[-1].tool_calls[0].arguments.items() | list }}{{ '%s' % messages[0].role }}",
    "{{ strftime_now('%Y') }}{{ dict.__class__ }}{{ raise_exception.__globals__ }}",
]
REFUSED = [
    "{{ raise_exception('roles must take turns') }}",
    "{{ nobody.content }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ dict.__class__.mro() }}",
    "{{ dict.mro() }}",
    "{{ namespace(_a=1) }}",
    "{% set n = namespace() %}{% set n._a = 1 %}",
    "{{ raise_exception.__globals__.json }}",
    "{{ strftime_now.__globals__.json }}",
    "{{ messages | tojson(indent=nobody) }}",
    "{{ 1 / 0 }}",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("home")
    save_tokenizer(path)
    return load_tokenizer(path)


def by_transformers(tokenizer: Any, template: str, answer_next: bool) -> str:
    text: str = tokenizer.apply_chat_template(
        TALK, chat_template=template, tokenize=False, add_generation_prompt=answer_next
    )
    return text


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("answer_next", [False, True])
def test_the_text_is_that_of_transformers(tokenizer: Any, template: str, answer_next: bool) -> None:
    specials = tokenizer.special_tokens_map
    found = CompiledTemplate(template).render(TALK, specials, answer_next=answer_next)
    assert found == by_transformers(tokenizer, template, answer_next)


@pytest.mark.parametrize("template", REFUSED)
def test_refusals_are_those_of_transformers(tokenizer: Any, template: str) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        by_transformers(tokenizer, template, False)
    with pytest.raises(theirs.type) as ours:
        CompiledTemplate(template).render(TALK, {}, answer_next=False)
    assert ours.type is theirs.type


@pytest.mark.parametrize("template", ["{{ ''.__class__ }}", "{{ messages.append }}"])
def test_there_is_no_way_out(template: str) -> None:
    assert CompiledTemplate(template).render(TALK, {}, answer_next=False) == ""
    with pytest.raises(SecurityError):
        CompiledTemplate(f"{template[:-2]}.x }}}}").render(TALK, {}, answer_next=False)


def test_messages_are_rebuilt_of_plain_values() -> None:
    class Loud(str):
        def secret(self) -> str:
            raise AssertionError("called")

    said = [{"role": "user", "content": Loud("hi")}]
    found = CompiledTemplate("{{ messages[0].content }}{{ messages[0].content.secret is defined }}")
    assert found.render(said, {}, answer_next=False) == "hiFalse"
