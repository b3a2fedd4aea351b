"""Texts are called by names that tell them apart, and only recipes that read get any."""

from pathlib import Path

import pytest

from tersor.errors import TextError
from tersor.pipeline.whole_model.given_texts import given_texts
from tersor.recipes import load_recipe


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["a/x.txt", "a/y.txt"], ["x.txt", "y.txt"]),
        (["a/x.txt", "b/x.txt", "a/y.txt"], ["a/x.txt", "b/x.txt", "y.txt"]),
        (["a/x.txt", "b/../a/x.txt"], ["x.txt", "x.txt"]),
        (["a/x.txt", "a/a/x.txt", "b/a/x.txt"], ["{}/a/x.txt", "a/a/x.txt", "b/a/x.txt"]),
    ],
)
def test_names_tell_files_apart(tmp_path: Path, given: list[str], names: list[str]) -> None:
    for folder in ("a", "b", "a/a", "b/a"):
        (tmp_path / folder).mkdir()
        for name in ("x.txt", "y.txt"):
            (tmp_path / folder / name).write_text(f"{folder} {name}")
    found = given_texts(load_recipe("gptq"), [tmp_path / path for path in given])
    assert [file.name for file in found] == [name.format(tmp_path.name) for name in names]


def test_without_any_it_is_the_mixture() -> None:
    assert all(file.built_in for file in given_texts(load_recipe("gptq"), []))
    assert given_texts(load_recipe("w4"), []) == []


def test_a_text_that_is_missing_is_found_first(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"no\.txt: cannot be read"):
        given_texts(load_recipe("gptq"), [tmp_path / "no.txt"])
