"""Streamed text is the decoded whole, cut at stop strings."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tersor.runtime.engine.lookup import draft
from tersor.runtime.engine.streaming import TextStream


class Bytes:
    """A tokenizer whose tokens are bytes of UTF-8: characters may take several tokens."""

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(tokens).decode("utf-8", errors="replace")


def streamed(text: str, stop: Sequence[str] = ()) -> tuple[list[str], bool]:
    stream = TextStream(Bytes(), list(b"before"), stop)
    pieces = []
    for token in text.encode():
        pieces.append(stream.push(token))
        if stream.stopped:
            return pieces, True
    return [*pieces, stream.finish()], False


@given(st.text(max_size=40))
def test_pieces_add_up(text: str) -> None:
    pieces, stopped = streamed(text)
    assert "".join(pieces) == text
    assert not stopped


@given(st.text("ab€", max_size=30), st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3))
def test_stop_strings_cut(text: str, stop: list[str]) -> None:
    pieces, stopped = streamed(text, stop)
    found = "".join(pieces)
    assert stopped == any(one in text for one in stop)
    if not stopped:
        assert found == text
        return
    # The first to be complete ends the text, and nothing of any is shown before that.
    ends = {text.index(one) + len(one): one for one in stop if one in text}
    first = min(ends)
    assert found == text[: min(text.index(one) for one in stop if one in text[:first])]


def test_incomplete_characters_wait() -> None:
    pieces, _ = streamed("a€b")
    assert pieces == ["a", "", "", "€", "b", ""]


def test_drafts_repeat_what_followed() -> None:
    assert draft([1, 2, 3, 4, 5, 1, 2, 3], 2) == [4, 5]
    assert draft([1, 2, 3, 9, 9, 2, 3], 3) == [9, 9, 2]
    assert draft([7, 2, 3, 8, 2, 3, 9, 2, 3], 1) == [9]
    assert draft([1, 2, 3, 4], 2) == []
    assert draft([1], 2) == []
    assert draft([4, 4, 4, 4, 4], 9) == [4]
