"""YAML from strangers: only plain values, no bombs, nothing said twice."""

import pytest

from tersor.errors import RecipeError
from tersor.recipes.text import read_mapping


def test_plain_values() -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: 'e'}"
    assert read_mapping(text, "f") == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "e"}}


def test_an_alias_repeats_a_value() -> None:
    assert read_mapping("a: &x {k: 1}\nb: *x", "f") == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment", "null", "just words", "- a\n- b", "3", "[]", "true", "---\n..."],
)
def test_what_is_no_mapping(text: str) -> None:
    with pytest.raises(RecipeError, match=r"f\.yaml is not a recipe: it must be a mapping"):
        read_mapping(text, "f.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "\tindented: with a tab",
        "a: 'open",
        "a: \x07",
        "a: 1\n---\nb: 2",
        "{a: 1}}",
        "a: *missing",
        "? [list]\n: value",
        "? {m: 1}\n: value",
        # PyYAML lets errors of its own conversions through.
        "a: 2001-13-45",
        "a: !!int x",
        "a: !!int ''",
        "a: !!bool maybe",
        "a: !!float x",
        "a: !!timestamp never",
        "a: !!binary ö",
        "a: " + "9" * 5000,
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_yaml(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^f\.yaml is not YAML: ") as caught:
        read_mapping(text, "f.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/object:tersor.recipes.Recipe {}",
        "a: !!python/name:os.system",
        "a: !!python/module:os",
        "!!python/object/new:dict [{}]",
        "a: !custom 1",
    ],
)
def test_no_object_is_built(text: str) -> None:
    with pytest.raises(RecipeError, match="could not determine a constructor for the tag"):
        read_mapping(text, "f")


def test_a_key_that_occurs_twice() -> None:
    for text, line in [("a: 1\nb: 2\na: 3", 1), ("top:\n  inner: 1\n  inner: 2", 2)]:
        with pytest.raises(RecipeError, match=f"line {line}: key '(a|inner)' occurs twice"):
            read_mapping(text, "f")


def bomb(entry: str, levels: int = 30) -> str:
    """Every level holds the one before nine times over."""
    lines = [f"a0: &a0 {entry}"]
    for level in range(1, levels):
        references = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} [{references}]")
    return "\n".join(lines)


def test_a_billion_laughs_are_harmless() -> None:
    # 30 short lists; written out, their 9^29 strings would never end.
    value = read_mapping(bomb("lol"), "f")["a29"]
    for _ in range(29):
        assert len(value) == 9
        value = value[8]
    assert value == "lol"


def test_merge_keys_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"line 2: merge keys \(<<\) are refused"):
        read_mapping("a: &a {x: 1}\nb: {<<: *a}", "f")


def test_a_list_that_contains_itself_is_read() -> None:
    data = read_mapping("a: &a [*a]", "f")
    assert data["a"][0] is data["a"]


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RecipeError, match="nested too deeply"):
        read_mapping("a: " + "[" * 10_000, "f")
