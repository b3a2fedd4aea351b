"""One loop makes tokens: alone or in a batch, guessing ahead or not, they are the same."""

from typing import Any

import numpy as np
import pytest

from tersor.runtime.engine.decoding import Text, next_tokens
from tersor.runtime.engine.sampling import Sampler, Sampling

SIZE = 11


class Counting:
    """Stands for a session: what follows a token depends on the two before; counts runs."""

    def __init__(self) -> None:
        self.runs = 0

    def extend(self, slot: int, tokens: list[int], wanted: int) -> Any:
        del slot
        self.runs += 1
        return np.stack([_logits(tokens[: len(tokens) - i]) for i in reversed(range(wanted))])

    def step(self, slots: list[int], texts: list[list[int]]) -> Any:
        self.runs += 1
        return np.stack([_logits(texts[slot]) for slot in slots])


def _logits(tokens: list[int]) -> Any:
    row = np.zeros(SIZE, np.float32)
    row[(tokens[-1] * 3 + tokens[-2] % 2) % SIZE] = 5
    return row


def reference(prompt: list[int], count: int, sampling: Sampling) -> list[int]:
    """Token after token, everything run again for each."""
    tokens, sampler = list(prompt), Sampler(sampling)
    for _ in range(count):
        tokens.append(sampler.choose(_logits(tokens)))
    return tokens


@pytest.mark.parametrize("guesses", [0, 1, 4])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.5, seed=3)])
def test_tokens_are_those_of_the_plain_loop(guesses: int, sampling: Sampling) -> None:
    prompts = [[1, 2, 3], [4, 4], [7, 1, 7, 1]]
    counts = (40, 3, 25)
    texts = [
        Text(list(p), len(p) + n, Sampler(sampling)) for p, n in zip(prompts, counts, strict=True)
    ]
    session: Any = Counting()
    made = list(next_tokens(session, texts, guesses=guesses))
    for slot, (prompt, count) in enumerate(zip(prompts, counts, strict=True)):
        expected = reference(prompt, count, sampling)
        assert texts[slot].tokens == expected
        assert [token for at, token in made if at == slot] == expected[len(prompt) :]
    if guesses and not sampling.temperature:
        assert session.runs < sum(counts)  # a text that repeats itself is guessed


def test_a_reader_ends_a_text_and_the_others_go_on() -> None:
    texts = [Text([1, 2], 30, Sampler(Sampling())), Text([3, 4], 30, Sampler(Sampling()))]
    session: Any = Counting()
    run = next_tokens(session, texts)
    for _ in range(6):
        next(run)
    texts[0].ended = True
    assert {slot for slot, _ in run} == {1}
    assert [len(text.tokens) for text in texts] == [5, 30]


def test_what_was_guessed_behind_the_end_is_not_made() -> None:
    text = Text([5, 5], 30, Sampler(Sampling()))
    text.guessed = [5, 5, 5]  # what is made each time
    for made in text.choose(np.stack([_logits([5, 5])] * 4)):
        assert made == 5
        text.ended = True
    assert len(text.tokens) == 3
