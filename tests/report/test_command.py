"""The command that makes an artifact again, as a shell reads it."""

import shlex

import pytest

from tersor.report import quantize_command


@pytest.mark.parametrize("name", ["plain.txt", "with space", "it's", "$HOME;ls", "new\nline", "ü"])
def test_every_name_is_one_word(name: str) -> None:
    words = shlex.split(quantize_command(name, (name, "b"), ("--merge-adapter",)))
    again = ["-o", "again", "--recipe", "recipe.yaml"]
    texts = ["--calibration", name, "--calibration", "b"]
    assert words == ["tersor", "quantize", name, *again, *texts, "--merge-adapter"]


def test_no_name_is_an_option() -> None:
    words = shlex.split(quantize_command("-model", ("--seed",), ()))
    assert words[2] == "./-model"
    assert words[-1] == "./--seed"
