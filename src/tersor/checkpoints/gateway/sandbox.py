"""Jinja's sandbox as transformers sets it up for chat templates.

Templates are programs of the checkpoint. What they find here is what transformers gives them
(https://huggingface.co/docs/transformers/chat_templating_writing), tests hold both together, and
messages are rebuilt of plain values, so that no object of ours has a method to call.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tersor.errors import MissingExtra

# Older ones have known ways out of the sandbox.
_SAFE = (3, 1, 6)
# What reasoning is called in messages; templates read the first name, or the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


class CompiledTemplate:
    """A chat template, ready to render."""

    def __init__(self, text: str) -> None:
        """Raises what jinja raises for its syntax, and :class:`MissingExtra` for an old jinja."""
        found = version("jinja2")
        if _numbers(found) < _SAFE:
            raise MissingExtra(
                f"chat templates need jinja2 {'.'.join(map(str, _SAFE))} or newer, not {found} "
                "(pip install --upgrade jinja2)"
            )
        self._template = _environment().from_string(text)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        specials: Mapping[str, str],
        *,
        answer_next: bool,
    ) -> str:
        """The text of a conversation. ``specials``: tokens such as ``bos_token``, by name.

        Raises whatever a template may raise.
        """
        return self._template.render(
            **specials,
            messages=[_message(json.loads(json.dumps(message))) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=answer_next,
        )


def _environment() -> ImmutableSandboxedEnvironment:
    found = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    found.filters["tojson"] = _to_json
    found.globals.update(
        raise_exception=_refuse, strftime_now=_now, dict=_Dictionaries(), namespace=_Namespace
    )
    return found


class _Generation(Extension):
    """``{% generation %}…{% endgeneration %}`` around answers, which are rendered as they are."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own way

    def parse(self, parser: Parser) -> nodes.Node:
        """A block whose names are its own, as those of a macro."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_as_it_is"), [], [], body).set_lineno(line)

    def _as_it_is(self, caller: Macro) -> str:
        return caller()


class _Dictionaries:
    """``dict`` without the type behind it."""

    def __call__(self, *given: Any, **named: Any) -> dict[Any, Any]:
        return dict(*given, **named)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        """``dict.fromkeys``."""
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*given: Any, **named: Any) -> None:
        # As jinja's own, so that a template may call a name ``self``.
        self, *values = given
        held = dict(*values, **named)
        for name in held:
            _refuse_hidden(name)
        Namespace.__init__(self, held)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_hidden(name)
        super().__setitem__(name, value)


def _refuse_hidden(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no name {name!r}: it begins with an underscore")


def _refuse(said: str) -> None:
    raise TemplateError(said)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Unlike jinja's own without escapes of HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without empty fields, and with reasoning under both names that templates read."""
    found = {name: value for name, value in given.items() if value is not None}
    reasoning = next((found[name] for name in _REASONING if name in found), None)
    if reasoning is None:
        return found
    return {"thinking": reasoning, **found, "reasoning_content": reasoning}


def _numbers(found: str) -> tuple[int, ...]:
    return tuple(int(part) for part in found.split(".")[:3] if part.isdecimal())
