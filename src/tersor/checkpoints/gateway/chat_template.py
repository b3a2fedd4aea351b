"""Messages → the text that a model was trained to see, by its tokenizer's own chat template.

Templates are programs of the checkpoint. They are run in jinja's sandbox, and only there.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from reprlib import repr as clipped
from typing import TYPE_CHECKING, Any

from tersor.checkpoints.gateway.complaint import complaint
from tersor.checkpoints.gateway.tokenizer import SETTINGS
from tersor.errors import MissingExtra, SourceError, TextError

if TYPE_CHECKING:
    from tersor.checkpoints.gateway.sandbox import CompiledTemplate

Message = Mapping[str, Any]

_FILE = "chat_template.jinja"
_PROBE = ({"role": "user", "content": "tersor"},)

# A list of parts that was printed as it is.
_PRINTED = re.compile(r"""['"]type['"]: ?['"]text['"]""")

# Templates that say what day it is would give other tokens every day; a macro hides the function
# that they ask.
_DAY = {
    "%Y": "2025",
    "%y": "25",
    "%m": "01",
    "%b": "Jan",
    "%B": "January",
    "%d": "01",
    "%-d": "1",
    "%a": "Wed",
    "%A": "Wednesday",
    "%H": "12",
    "%M": "00",
    "%S": "00",
}
_REPLACED = "".join(f" | replace('{code}', '{value}')" for code, value in _DAY.items())
_FIXED_DAY = "{%- macro strftime_now(form) -%}{{ form" + _REPLACED + " }}{%- endmacro -%}\n"


class ChatTemplate:
    """The chat template of a tokenizer.

    Contents are given as texts, or as lists of parts to templates that render nothing of texts.
    """

    def __init__(self, tokenizer: Any, *, fixed_day: bool = False) -> None:
        """``fixed_day``: templates that say what day it is say the same one every day.

        Raises :class:`SourceError` for several templates without one called ``default``, or what
        is no template at all.
        """
        self._tokenizer, self.place = tokenizer, _place(tokenizer)
        self._text = self._chosen(tokenizer.chat_template)
        if fixed_day and "strftime_now" in self._text:
            self._text = _FIXED_DAY + self._text

    @staticmethod
    def exists(tokenizer: Any) -> bool:
        """Whether the tokenizer has a template."""
        return bool(getattr(tokenizer, "chat_template", None))

    def render(self, messages: Sequence[Message], *, answer_next: bool = False) -> str:
        """The text of a conversation; with ``answer_next`` up to where the answer begins.

        Raises:
            TextError: the template refuses the conversation; it says why.
            SourceError: the template is broken, or renders nothing of the messages.
        """
        try:
            text = self._rendered(messages, answer_next)
        except (TextError, SourceError):
            parts = self._in_parts(messages, answer_next)
            if parts is None or not _says(parts, messages):
                raise
            return parts
        if _says(text, messages):
            return text
        parts = self._in_parts(messages, answer_next)
        if parts is not None and _says(parts, messages):
            return parts
        if self._depends(text, messages, answer_next):
            return text  # something else becomes of what was said
        raise SourceError(
            f"{self.place} renders nothing of what the messages say; repair the template, or use "
            "the model without it"
        )

    def check(self, system: str = "") -> None:
        """Render a conversation of one word, after the message ``system`` if there is one.

        Raises as :meth:`render`, before anything has been said.
        """
        if not system:
            self.render(_PROBE, answer_next=True)
            return
        opening = {"role": "system", "content": system}
        try:
            found = self.render([opening, *_PROBE], answer_next=True)
        except (TextError, SourceError) as error:
            self.render(_PROBE, answer_next=True)  # what is broken anyway says so
            raise self._no_system(_first_line(error.__cause__ or error)) from error
        if _bare(system) not in _bare(found) and found == self.render(_PROBE, answer_next=True):
            raise self._no_system("it leaves it out")

    def _no_system(self, why: str) -> TextError:
        return TextError(
            f"{self.place} takes no system message ({why}); leave out --system and say it in the "
            "first question"
        )

    def _chosen(self, templates: Any) -> str:
        if isinstance(templates, dict):
            if isinstance(templates.get("default"), str):
                return str(templates["default"])
            names = ", ".join(clipped(name) for name in sorted(templates, key=str)[:5])
            raise SourceError(f"{self.place}: none of {names} is called default; rename one")
        if not isinstance(templates, str):
            raise SourceError(
                f"{self.place} is {clipped(templates)}, not a text; repair or remove it"
            )
        return templates

    def _depends(self, text: str, messages: Sequence[Message], answer_next: bool) -> bool:
        """Whether ``text`` would be another one if nothing were said."""
        emptied = [{**message, "content": ""} for message in messages]
        try:
            return text != self._rendered(emptied, answer_next)
        except (TextError, SourceError):
            return True

    def _in_parts(self, messages: Sequence[Message], answer_next: bool) -> str | None:
        """With contents as lists of parts; None if the template has no use for those."""
        parts = [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            for message in messages
        ]
        try:
            text = self._rendered(parts, answer_next)
        except (TextError, SourceError):
            return None
        return None if _PRINTED.search(text) else text

    def _rendered(self, messages: Sequence[Message], answer_next: bool) -> str:
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            specials = self._tokenizer.special_tokens_map
            return self._compiled.render(messages, specials, answer_next=answer_next)
        except MissingExtra:
            raise
        except TemplateSyntaxError as error:
            line = error.lineno - _FIXED_DAY.count("\n") * self._text.startswith(_FIXED_DAY)
            raise SourceError(
                f"{self.place}, line {line}: {_first_line(error)}; repair the template"
            ) from error
        except Exception as error:  # a template may do anything that its sandbox allows
            if type(error) is TemplateError:  # raise_exception, which templates refuse things by
                raise TextError(
                    f"{self.place} refuses the conversation ({_first_line(error)}); change it"
                ) from error
            raise SourceError(f"{self.place}: {complaint(error)}; repair the template") from error

    @cached_property
    def _compiled(self) -> "CompiledTemplate":
        from tersor.checkpoints.gateway.sandbox import CompiledTemplate

        return CompiledTemplate(self._text)


def _place(tokenizer: Any) -> str:
    """File and field of the template, as far as a tokenizer remembers where it comes from."""
    home = str(getattr(tokenizer, "name_or_path", "") or "")
    if not home:
        return "the tokenizer's chat template"
    if (Path(home) / _FILE).is_file():
        return f"{Path(home) / _FILE}: the chat template"
    if (Path(home) / SETTINGS).is_file():
        return f"{Path(home) / SETTINGS}: chat_template"
    return f"{home}: the chat template"


def _says(text: str, messages: Sequence[Message]) -> bool:
    """Whether what the user, or else anybody, says last is in the text."""
    users = [message for message in messages if message["role"] == "user"]
    last = [message["content"] for message in users or messages][-1:]
    return all(_bare(content) in _bare(text) for content in last)


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
