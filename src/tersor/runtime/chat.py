"""A conversation with a model that has a chat template."""

from collections.abc import Iterator

from tersor.errors import TextError
from tersor.runtime.engine import Engine
from tersor.runtime.sampling import Sampling


class Conversation:
    """Messages so far. The engine keeps what it has computed of them, so an answer costs its own
    tokens and the question's only.

    Raises :class:`TextError` if the tokenizer has no chat template.
    """

    def __init__(
        self, engine: Engine, *, system: str = "", sampling: Sampling = Sampling()
    ) -> None:
        if not getattr(engine.tokenizer, "chat_template", None):
            raise TextError(
                f"{engine.directory}: the tokenizer has no chat template; use `tersor generate`"
            )
        self._engine, self._sampling = engine, sampling
        self._system = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, str]] = list(self._system)

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = list(self._system)

    def answer(self, question: str, *, max_new_tokens: int) -> Iterator[str]:
        """Pieces of the answer. What was read of it becomes part of the conversation, even if
        reading stops before its end."""
        asked = [*self.messages, {"role": "user", "content": question}]
        text = self._engine.tokenizer.apply_chat_template(
            asked, tokenize=False, add_generation_prompt=True
        )
        tokens = self._engine.tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces: list[str] = []
        try:
            for token in self._engine.generate(
                tokens, max_new_tokens=max_new_tokens, sampling=self._sampling
            ):
                if token.text:
                    pieces.append(token.text)
                    yield token.text
        finally:
            if pieces:
                self.messages = [*asked, {"role": "assistant", "content": "".join(pieces)}]
