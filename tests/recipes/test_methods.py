"""A name and its numbers: what may be written, what is refused and how."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from tersor.errors import RecipeError
from tersor.recipes.methods import method_to_dict, parse_method


@dataclass(frozen=True)
class Fast:
    """Everything a parameter can be."""

    steps: int = 3
    share: float = 0.5
    exact: bool = False
    order: Literal["up", "down"] = "up"
    limit: float | None = None
    name: str = "x"


@dataclass(frozen=True)
class Slow:
    """No parameters."""


KNOWN: dict[str, type[Fast | Slow]] = {"fast": Fast, "slow": Slow}


def parsed(data: Any) -> Fast | Slow:
    return parse_method(data, "step", KNOWN)


def test_a_bare_name_has_the_defaults() -> None:
    assert parsed("fast") == parsed({"method": "fast"}) == Fast()
    assert parsed("slow") == Slow()


@pytest.mark.parametrize(
    "value", [Fast(), Slow(), Fast(7, 0.25, True, "down", None, "y"), Fast(limit=2.0)]
)
def test_there_and_back(value: Fast | Slow) -> None:
    document = method_to_dict(value, KNOWN)
    assert parsed(document) == value
    if isinstance(value, Fast):
        assert list(document) == ["method", "steps", "share", "exact", "order", "limit", "name"]


def test_whole_numbers_are_numbers() -> None:
    assert parsed({"method": "fast", "share": 1, "limit": 0}) == Fast(share=1, limit=0)


def test_null_only_where_it_means_something() -> None:
    assert parsed({"method": "fast", "limit": None}) == Fast(limit=None)
    for key in ("steps", "share", "exact", "order", "name"):
        with pytest.raises(RecipeError, match=rf"^step\.{key} must be .*, not None$"):
            parsed({"method": "fast", key: None})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"steps": 1.5}, "step.steps must be a whole number, not 1.5"),
        ({"steps": "3"}, "step.steps must be a whole number, not '3'"),
        ({"steps": True}, "step.steps must be a whole number, not True"),
        ({"share": "half"}, "step.share must be a number, not 'half'"),
        ({"share": False}, "step.share must be a number, not False"),
        ({"limit": "none"}, "step.limit must be a number, not 'none'"),
        ({"limit": True}, "step.limit must be a number, not True"),
        ({"exact": 1}, "step.exact must be true or false, not 1"),
        ({"exact": "yes"}, "step.exact must be true or false, not 'yes'"),
        ({"order": 2}, "step.order must be a word, not 2"),
        ({"name": [1] * 1000}, "step.name must be a word, not a list"),
        ({"stepps": 2}, "step: unknown key 'stepps'; did you mean 'steps'?"),
        ({1: 2}, "step: unknown key 1"),
    ],
)
def test_wrong_parameters(parameters: dict[Any, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parsed({"method": "fast", **parameters})
    assert str(caught.value).startswith(message)


def test_a_parameter_of_another_method() -> None:
    with pytest.raises(RecipeError, match="step: unknown key 'steps'"):
        parsed({"method": "slow", "steps": 2})


@pytest.mark.parametrize("name", [None, 3, "", "quick", ["fast"], True])
def test_unknown_methods(name: Any) -> None:
    with pytest.raises(RecipeError, match=r"^step\.method .* unknown.*fast, slow"):
        parsed({"method": name})


def test_a_misspelt_method() -> None:
    with pytest.raises(RecipeError, match=r"^step\.method 'fsat' unknown; did you mean 'fast'\?$"):
        parsed("fsat")


@pytest.mark.parametrize("data", [None, 3, 2.5, True, ["fast"]])
def test_what_is_no_method(data: Any) -> None:
    with pytest.raises(RecipeError, match=r"^step must be a method or a mapping, not "):
        parsed(data)


def test_what_was_given_is_not_changed() -> None:
    data = {"method": "fast", "steps": 9}
    parsed(data)
    assert data == {"method": "fast", "steps": 9}
