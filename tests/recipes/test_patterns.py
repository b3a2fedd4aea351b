"""Patterns for modules, and suggestions for what was mistyped."""

import pytest

from tersor.errors import RecipeError
from tersor.recipes import did_you_mean, matches, require_match
from tersor.recipes.patterns import check_pattern

MODULES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.mlp.down_proj",
    "model.layers.10.mlp.down_proj",
    "model.layers.10.mlp.up_proj",
    "lm_head",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lm_head", ["lm_head"]),
        ("down_proj", ["model.layers.0.mlp.down_proj", "model.layers.10.mlp.down_proj"]),
        ("mlp.up_proj", ["model.layers.10.mlp.up_proj"]),
        ("model.layers.0.mlp.down_proj", ["model.layers.0.mlp.down_proj"]),
        # The last parts of a name are whole parts.
        ("proj", []),
        ("own_proj", []),
        ("model.layers.0", []),
        ("model.layers.0.*", MODULES[:2]),
        ("*.layers.1?.*", MODULES[2:4]),
        ("*.layers.[0-9].mlp.*", MODULES[1:2]),
        ("*", MODULES),
        # A shell pattern is for the whole name, a regular expression for its start.
        ("layers*", []),
        (r"re:model\.layers\.1", MODULES[2:4]),
        ("re:.*down_proj$", MODULES[1:3]),
        ("re:down_proj", []),
        (r"re:(lm_head|.*q_proj)", [MODULES[0], "lm_head"]),
        ("LM_HEAD", []),
    ],
)
def test_matches(pattern: str, expected: list[str]) -> None:
    assert [module for module in MODULES if matches(pattern, module)] == expected


def test_a_pattern_is_checked_before_use() -> None:
    assert check_pattern("re:.*") == "re:.*"
    assert check_pattern("a*[") == "a*["
    with pytest.raises(RecipeError, match=r"pattern 're:\(' is no regular expression"):
        check_pattern("re:(")
    with pytest.raises(RecipeError, match="empty"):
        check_pattern("")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("down_porj", "did you mean 'down_proj'"),
        ("mlp.down_porj", "did you mean 'down_proj'"),
        ("zzz", "known: down_proj, lm_head, q_proj, up_proj"),
    ],
)
def test_a_pattern_that_matches_nothing(pattern: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=rf"--exclude '{pattern}' matches no module.*{hint}"):
        require_match(pattern, MODULES, "--exclude")


def test_a_pattern_that_matches_is_fine() -> None:
    require_match("lm_head", iter(MODULES), "--include")


def test_suggestions() -> None:
    assert did_you_mean("grop", ["group", "channel"]) == "; did you mean 'group'?"
    assert did_you_mean("zzz", ["group", "channel"]) == "; known: group, channel"
    assert did_you_mean("zzz", []) == ""
    long = did_you_mean("zzz", [f"name{i}" for i in range(30)])
    assert long.endswith("name23, …")
