"""The loop that makes tokens, of one text or of several at a time, guessing ahead or not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tersor.runtime.engine.lookup import draft
from tersor.runtime.engine.sampling import Sampler
from tersor.runtime.engine.session import Session


@dataclass(eq=False)
class Text:
    """Tokens that are continued until there are ``most``, or until a reader says ``ended``.

    ``sampler``: chooses its tokens, ``guessed``: what may come next, to be run along with the last.
    """

    tokens: list[int]
    most: int
    sampler: Sampler
    ended: bool = False
    guessed: list[int] = field(default_factory=list)

    def guess(self, count: int) -> None:
        """Look for up to ``count`` tokens that may come next and have room."""
        room = min(count, self.most - len(self.tokens) - 1)
        self.guessed = draft(self.tokens, room) if room > 0 else []

    def choose(self, rows: NDArray[np.float32]) -> Iterator[int]:
        """One token for each row of logits, as long as what was guessed is what is made.

        ``rows``: ``(1 + guessed, vocabulary)``, after the last token and after each guessed one.
        """
        for row, guessed in zip(rows, [*self.guessed, None], strict=True):
            made = self.sampler.choose(row)
            self.tokens.append(made)
            self.ended = len(self.tokens) >= self.most
            yield made
            if self.ended or made != guessed:
                return


def next_tokens(
    session: Session, texts: Sequence[Text], *, guesses: int = 0
) -> Iterator[tuple[int, int]]:
    """The index of a text and its next token, for every text in turn.

    Text ``i`` takes slot ``i`` of the session. With ``guesses`` up to so many tokens more are run
    along, which are those that would be made otherwise too.
    """
    together = False
    while going := [slot for slot, text in enumerate(texts) if not text.ended]:
        for slot, rows in _logits(session, texts, going, together):
            for made in texts[slot].choose(rows):
                yield slot, made
            texts[slot].guess(guesses)
        together = guesses == 0


def _logits(
    session: Session, texts: Sequence[Text], slots: Sequence[int], together: bool
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each slot's logits ``(1 + guessed, vocabulary)``; ``together``: of all slots in one step."""
    if together:
        rows = session.step(slots, [text.tokens for text in texts])
        yield from zip(slots, rows[:, None], strict=True)
        return
    for slot in slots:
        text = texts[slot]
        yield slot, session.extend(slot, text.tokens + text.guessed, 1 + len(text.guessed))
