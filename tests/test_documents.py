"""Documents: unknown keys are named, with the nearest of those that are known there."""

import pytest
from pydantic import StrictInt

from tersor.documents import Document, validated
from tersor.errors import RecipeError


class Part(Document):
    """Inside of a whole."""

    number: StrictInt


class Whole(Document):
    """A document with documents in it."""

    one: Part | None = None
    many: tuple[Part, ...] = ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"numer": 1, "ones": None}, "unknown key 'w.numer'"),
        ({"ones": None}, "unknown key 'w.ones'.*one"),
        ({"one": {"numbr": 1}}, "unknown key 'w.one.numbr'.*number"),
        ({"many": [{"number": 1}, {"number": 2, "numbr": 1}]}, "'w.many.1.numbr'.*number"),
        ({"one": {"number": "1"}}, "^w.one.number: input should be a valid integer$"),
    ],
)
def test_the_key_and_the_nearest_one_are_named(data: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validated(Whole, data, "w")


def test_what_fits_is_a_frozen_value() -> None:
    found = validated(Whole, {"many": [{"number": 1}]}, "")
    assert found == Whole(many=(Part(number=1),))
    with pytest.raises(ValueError, match="frozen"):
        found.one = Part(number=2)
