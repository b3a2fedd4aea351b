"""A conversation with a model that has a chat template."""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tersor.checkpoints.gateway.chat_template import ChatTemplate
from tersor.errors import TextError
from tersor.runtime.engine.engine import Engine, Token
from tersor.runtime.engine.options import EngineOptions
from tersor.runtime.engine.sampling import Sampling
from tersor.runtime.tokens.kept import open_tokenizer


def checked_template(tokenizer: Any, place: str, system: str) -> ChatTemplate:
    """The chat template of a tokenizer, tried with the message ``system``, if any, and a word.

    Raises :class:`TextError` if there is none, or it takes no system message,
    :class:`~tersor.errors.SourceError` if it is broken or renders nothing of what is said.
    """
    if not ChatTemplate.exists(tokenizer):
        raise TextError(f"{place}: the tokenizer has no chat template; use `tersor generate`")
    template = ChatTemplate(tokenizer)
    template.check(system)
    return template


def open_conversation(
    directory: Path, *, system: str, sampling: Sampling, options: EngineOptions
) -> "Conversation":
    """One with the model in ``directory``. Raises as :func:`checked_template`, before a weight is
    read, and as :meth:`EngineOptions.open`.
    """
    tokenizer = open_tokenizer(directory)
    checked_template(tokenizer, str(directory), system)
    engine = options.open(directory)
    engine.tokenizer = tokenizer
    return Conversation(engine, system=system, sampling=sampling)


class Conversation:
    """Messages so far. The engine keeps what it has computed of them, so an answer costs its own
    tokens and the question's only. ``messages``: what was said, the system message first.

    Raises as :func:`checked_template`.
    """

    def __init__(
        self, engine: Engine, *, system: str = "", sampling: Sampling = Sampling()
    ) -> None:
        self.engine, self.sampling = engine, sampling
        self._template = checked_template(engine.tokenizer, str(engine.directory), system)
        self._system = _messages(system)
        self.messages: list[dict[str, str]] = list(self._system)

    @property
    def system(self) -> str:
        """The system message; empty if there is none."""
        return self._system[0]["content"] if self._system else ""

    def begin(self, system: str) -> None:
        """Forget everything, and go on with another system message.

        Raises as :func:`checked_template`; then nothing has changed.
        """
        self._template.check(system)
        self._system = _messages(system)
        self.clear()

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = list(self._system)

    def answer(self, question: str, *, max_new_tokens: int) -> Iterator[str]:
        """Pieces of the answer, as :meth:`tokens`."""
        with closing(self.tokens(question, max_new_tokens=max_new_tokens)) as tokens:
            yield from (token.text for token in tokens if token.text)

    def tokens(self, question: str, *, max_new_tokens: int) -> Generator[Token, None, None]:
        """Tokens of the answer, the last of which says how it came to its end. What was read of it
        becomes part of the conversation, even if reading stops before its end.

        Raises :class:`TextError` or :class:`~tersor.errors.SourceError` where the template refuses
        the question or fails on it, or nothing fits behind it; then nothing has changed.
        """
        asked = [*self.messages, {"role": "user", "content": question}]
        text = self._template.render(asked, answer_next=True)
        tokens = self.engine.tokenizer.encode(text, add_special_tokens=False)
        pieces: list[str] = []
        try:
            for token in self.engine.generate(
                tokens, max_new_tokens=max_new_tokens, sampling=self.sampling
            ):
                pieces.append(token.text)
                yield token
        finally:
            if any(pieces):
                self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]


def _messages(system: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []
