"""Tokens → text, piece by piece."""

from collections.abc import Sequence
from typing import Any

# Tokens of the prompt that a tokenizer may need to see to space the first new one right.
_BEFORE = 6
_UNFINISHED = "\ufffd"


class TextStream:
    """Turns tokens into text as they come.

    Text is held back while a character is incomplete, or while it may be the beginning of a stop
    string. ``stopped`` becomes true at a stop string, which and what follows is left out.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._tokens = list(prompt[-_BEFORE:])
        self._start, self._shown = 0, len(self._tokens)
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain once ``token`` is known."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._start : self._shown])
        whole = self._decode(self._tokens[self._start :])
        if len(whole) <= len(before) or whole.endswith(_UNFINISHED):
            return ""
        self._start, self._shown = self._shown, len(self._tokens)
        return self._release(self._held + whole[len(before) :])

    def finish(self) -> str:
        """What is still held back, when no token follows."""
        if self.stopped:
            return ""
        before = self._decode(self._tokens[self._start : self._shown])
        rest = self._decode(self._tokens[self._start :])[len(before) :]
        held, self._held, self._shown = self._held + rest, "", len(self._tokens)
        return held

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _release(self, text: str) -> str:
        found = [place for place in map(text.find, self._stop) if place >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` with which ``stop`` begins."""
    return next(
        (n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0
    )
