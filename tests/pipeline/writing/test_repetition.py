"""What a recipe was made with, and what is said of a run that is to repeat it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import tersor
from calibrating import small
from tersor.errors import RecipeError, TextError
from tersor.pipeline.writing.repetition import Repetition, repetition, source_name
from tersor.recipes import Made, Recipe, dump, load_recipe, parse
from tiny_models import save_text, save_tiny, save_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny("llama", tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    save_text(tmp_path / "some.txt", 400)
    save_text(tmp_path / "other.txt", 400, seed=1)
    return tmp_path / "model"


@pytest.fixture
def made(model: Path) -> Recipe:
    """A recipe that was made with ``some.txt``."""
    quantize(model, small("gptq"))
    return load_recipe(model.parent / "out" / "recipe.yaml")


def quantize(model: Path, recipe: Recipe | Path, text: str = "some.txt") -> Repetition | None:
    out, file = model.parent / "out", model.parent / text
    return tersor.quantize(model, out, recipe, calibration=[file], force=True).repetition


def test_the_same_text_under_another_name(model: Path, made: Recipe) -> None:
    shutil.copy(model.parent / "some.txt", model.parent / "renamed")
    assert quantize(model, made, "renamed") == Repetition(same=True)


def test_without_made_a_recipe_is_free(model: Path, made: Recipe) -> None:
    with pytest.raises(TextError, match=r"not 'other\.txt'"):
        quantize(model, made, "other.txt")
    free = model.parent / "free.yaml"
    free.write_text(dump(replace(made, made=None)))
    assert quantize(model, free, "other.txt") is None


def test_other_weights_are_said(model: Path, made: Recipe) -> None:
    other = model.with_name("other")
    save_tiny("llama", other, seed=1)
    save_tokenizer(other)
    found = quantize(other, made)
    assert made.made is not None
    assert found is not None
    assert not found.same
    (difference,) = found.differences
    assert difference.startswith("other has other weights (digest ")
    assert difference.endswith(f" than model, which it was made from ({made.made.source})")


def test_other_steps_are_said(model: Path, made: Recipe) -> None:
    found = quantize(model, made.with_bits(3))
    assert found is not None
    assert not found.same
    assert found.differences == ("its steps were changed since",)


def test_another_name_is_no_other_step(model: Path, made: Recipe) -> None:
    renamed = replace(made, name="mine", description="Mine.")
    assert quantize(model, renamed) == Repetition(same=True)


BEFORE = Made("a" * 32, "model", "b" * 32, (), ("c" * 64,), "float32", ("torch 2",), "d" * 32)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (BEFORE, "nothing that is known of differs"),
        (replace(BEFORE, windows=()), "other tokens"),
        (replace(BEFORE, arithmetic="bfloat16"), "calibrated in bfloat16 instead of float32"),
        (replace(BEFORE, versions=("torch 3",)), ": torch 3 instead of torch 2"),
    ],
)
def test_every_difference_is_said(now: Made, said: str) -> None:
    assert repetition(None, now) is None
    found = repetition(BEFORE, replace(now, result="e" * 32))
    assert found is not None
    assert said in found.line()
    assert repetition(BEFORE, now) == Repetition(same=True)


def test_made_is_read_as_it_is_written(made: Recipe) -> None:
    assert parse(dump(made), "x") == made
    text = dump(made).replace("sha256:", "sha265:")
    with pytest.raises(RecipeError, match=r"unknown key 'made\.texts\.0\.sha265'.*'sha256'"):
        parse(text, "x")
    with pytest.raises(RecipeError, match=r"made\.result"):
        parse(dump(made).replace("result: ", "result: x"), "x")


def test_a_source_has_one_digest_whatever_reads_it(model: Path) -> None:
    found = set()
    for name in ("w4", "rotate-gptq"):
        result = tersor.quantize(model, model.parent / name, small(name))
        found.add(result.source_digest)
    assert len(found) == 1


def test_a_source_has_a_name_from_wherever_it_is_seen(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model)
    for path in (".", "../model", f"{model}/", str(model / ".." / "model")):
        assert source_name(Path(path)) == "model"
