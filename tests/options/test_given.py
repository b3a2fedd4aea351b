"""Paths, flags and lists as they come from a caller."""

from pathlib import Path

import pytest

from tersor.errors import OptionError
from tersor.options import comma_separated, of_kind, one_path, some_paths, some_words, yes_or_no


def test_one_string_is_one_item() -> None:
    assert some_words("stop", "paragraph") == ("paragraph",)
    assert some_words("stop", ["a", "b"]) == some_words("stop", iter("ab")) == ("a", "b")
    assert some_paths("texts", "a.txt") == some_paths("texts", Path("a.txt")) == [Path("a.txt")]
    assert some_paths("texts", ("a", Path("b"))) == [Path("a"), Path("b")]


@pytest.mark.parametrize("value", [3, None, [""], ["a", 3], b"ab", {"a": 1}])
def test_what_is_no_list_of_words(value: object) -> None:
    with pytest.raises(OptionError, match=r"^stop must be"):
        some_words("stop", value)


@pytest.mark.parametrize("value", ["", 3, None, b"a", ["a"]])
def test_what_is_no_path(value: object) -> None:
    with pytest.raises(OptionError, match=r"^out must be a path, not"):
        one_path("out", value)


@pytest.mark.parametrize("value", ["no", 1, None])
def test_what_is_no_flag(value: object) -> None:
    with pytest.raises(OptionError, match=r"^force must be True or False, not"):
        yes_or_no("force", value)


def test_values_of_our_own_types() -> None:
    assert of_kind("place", Path("a"), Path) == Path("a")
    with pytest.raises(OptionError, match=r"^place must be Path\(…\), not 'a'"):
        of_kind("place", "a", Path)


def test_commas() -> None:
    assert comma_separated("recipes", "w4, w3") == ["w4", "w3"]
    with pytest.raises(OptionError, match=r"^recipes names nothing at a comma"):
        comma_separated("recipes", "w4,,w3")
