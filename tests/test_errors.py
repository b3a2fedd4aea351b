"""A message is one line that people can read, whatever a file has put into it."""

import pytest

from tersor.errors import EngineError, SourceError, TersorError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("one line", "one line"),
        ("héllo – 模型", "héllo – 模型"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[2Jgone\0", "\\x1b[2Jgone\\x00"),
        ("half a pair \ud800", "half a pair \\ud800"),
    ],
)
def test_a_message_is_one_line(said: str, shown: str) -> None:
    assert str(SourceError(said)) == shown
    assert str(EngineError(said)).endswith(shown)


def test_a_long_message_keeps_its_beginning_and_the_way_out() -> None:
    said = str(TersorError("config.json: model_type is " + "a" * 100_000 + "; download it again"))
    assert said.startswith("config.json: model_type is aaa")
    assert said.endswith("aaa; download it again")
    assert len(said) < 1000
