"""Text to windows of tokens."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tersor.calibration.text import check_windows, evaluation_file, first_tokens, windows
from tersor.errors import TextError


class Letters:
    """One token per character."""

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """A word tokenizer that knows 16 positions and begins every text with ``<s>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    core = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", model_max_length=16
    )


@given(text=st.text(min_size=1, max_size=80), length=st.integers(1, 9), count=st.integers(1, 9))
def test_windows_are_the_beginning_of_the_text(text: str, length: int, count: int) -> None:
    available = len(text) // length
    if available == 0:
        with pytest.raises(TextError, match=f"has {len(text)} tokens and one window needs"):
            windows(Letters(), text, length)
        return
    every, some = windows(Letters(), text, length), windows(Letters(), text, length, count)
    assert every.dtype == torch.int64
    assert every.shape == (available, length)
    assert every.flatten().tolist() == [ord(letter) for letter in text[: available * length]]
    assert torch.equal(some, every[:count])


@pytest.mark.parametrize(("length", "count"), [(0, None), (4, 0), (-1, 3)])
def test_impossible_sizes(length: int, count: int | None) -> None:
    with pytest.raises(TextError, match="at least 1"):
        windows(Letters(), "some text", length, count)


def test_one_first_token_in_front_of_each_window_and_no_warning(
    words: PreTrainedTokenizerFast,
) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        found = windows(words, "a b " * 20, 9)
    finally:
        logger.removeHandler(handler)
    assert torch.equal(found, torch.tensor([[1, *[2, 3] * 4]] * 5))
    assert [record.getMessage() for record in said] == []


@pytest.mark.parametrize(
    ("template", "expected"),
    [("<s> $A", (1,)), ("<s> <b> $A", (1, 4)), ("$A <b>", ()), ("<s> $A <b>", (1,)), ("$A", ())],
)
def test_what_a_tokenizer_puts_in_front(template: str, expected: tuple[int, ...]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = {"<unk>": 0, "<s>": 1, "a": 2, "b": 3, "<b>": 4}
    core = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        template, special_tokens=[("<s>", 1), ("<b>", 4)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    assert first_tokens(tokenizer) == expected
    found = windows(tokenizer, "a b " * 30, 7, 3)
    assert found.shape == (3, 7)
    assert found[:, : len(expected)].tolist() == [list(expected)] * 3
    text = [2, 3] * 30
    room = 7 - len(expected)
    assert found[:, len(expected) :].flatten().tolist() == text[: 3 * room]


def test_windows_need_room_behind_the_first_token(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TextError, match="no room for text behind the 1 tokens"):
        windows(words, "a b a b", 1)


def test_a_tokenizer_that_changes_the_text_is_refused() -> None:
    class Odd:
        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": [7] if options else [8, 9]}

    with pytest.raises(TextError, match=r"tokenizer\.json"):
        first_tokens(Odd())


def test_windows_a_model_can_read() -> None:
    check_windows(torch.full((2, 8), 10), "m", vocabulary=11, positions=8)
    check_windows(torch.full((2, 8), 10), "m", vocabulary=None, positions=None)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.full((2, 8), 11), "m: the text has token 11, the model has 11"),
        (torch.full((2, 8), -1), "m: the text has token -1"),
        (torch.zeros(2, 9, dtype=torch.int64), "use --context 8 or less"),
        (torch.zeros(8, dtype=torch.int64), "windows are int64"),
        (torch.zeros(0, 8, dtype=torch.int64), "windows are int64"),
        (torch.zeros(2, 8), "windows are int64"),
    ],
)
def test_windows_a_model_cannot_read(tokens: torch.Tensor, message: str) -> None:
    with pytest.raises(TextError, match=message):
        check_windows(tokens, "m", vocabulary=11, positions=8)


@pytest.mark.model
def test_a_prefix_gives_the_tokens_of_the_whole(smollm2: Path) -> None:
    from tersor.checkpoints.gateway.tokenizer import load_tokenizer

    tokenizer, text = load_tokenizer(smollm2), evaluation_file().text
    whole = windows(tokenizer, text, 64)
    for count in (1, 7, 100, len(whole), 10**6):
        assert torch.equal(windows(tokenizer, text, 64, count), whole[:count])


def test_no_more_text_is_tokenized_than_needed() -> None:
    lengths = []

    class Watched(Letters):
        def __call__(self, text: str, **options: Any) -> Any:
            lengths.append(len(text))
            return super().__call__(text, **options)

    windows(Watched(), "abc\n" * 10000, 10, 3)
    assert max(lengths) < 1000
