"""Names of recipes become names of directories."""

from pathlib import Path

import pytest

from tersor.errors import RecipeError
from tersor.recipes import load_recipe, preset_names
from tersor.recipes.naming import check_different, check_name


@pytest.mark.parametrize(
    "name", ["w4", "mine 3.5-bit_(b)", "моя", "w4+head", "a" * 100, "originals"]
)
def test_names_of_files_are_fine(name: str) -> None:
    check_name(name)


def test_presets_have_such_names() -> None:
    for name in preset_names():
        check_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("../escaped", "holds '/'"),
        ("/abs", "holds '/'"),
        ("a/b", "holds '/'"),
        ("a\\b", "holds"),
        ("C:", "holds ':'"),
        (".", "a dot"),
        ("..", "a dot"),
        (".hidden", "a dot"),
        ("ends.", "a dot"),
        ("-o", "a dash"),
        (" w4", "blanks"),
        ("w4\n", "printed"),
        ("w\0", "printed"),
        ("w\ud800", "printed"),
        ("\x1b[2J", "printed"),
        ("a" * 101, "longer than 100 bytes"),
        ("ж" * 51, "longer than 100 bytes"),
        ("original", "compare"),
        ("Original", "compare"),
        ("compare.csv", "compare"),
        ("compare.json", "compare"),
        ("compare.html", "compare"),
        ("study.json", "compare"),
        ("compare.MD", "compare"),
    ],
)
def test_other_names_are_refused_when_a_recipe_is_read(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"a recipe cannot be called .*{why}.*; give it"):
        check_name(name)
    file = tmp_path / "mine.yaml"
    escaped = name.replace("\\", "\\\\").encode("unicode_escape" if "\\" not in name else "utf-8")
    file.write_text(f'name: "{escaped.decode()}"\nweights: {{grid: int, bits: 4}}\n')
    with pytest.raises(RecipeError, match=r"mine\.yaml") as caught:
        load_recipe(file)
    assert "\n" not in str(caught.value)


def test_two_recipes_of_one_name() -> None:
    check_different(["w4", "w8", "w44"])
    with pytest.raises(RecipeError, match=r"two recipes are called 'w4', .* change `name:`"):
        check_different(["w4", "w8", "w4"])
    with pytest.raises(RecipeError, match="'w4' and 'W4'"):  # one directory on some disks
        check_different(["w4", "W4"])
