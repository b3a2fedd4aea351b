"""What people write as numbers."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from tersor.errors import OptionError
from tersor.explaining.given import given_scale, given_values


@pytest.mark.parametrize(
    "given",
    [
        "-1.5,0,0.007",
        " -1.5 , +0.0 ,7e-3",
        "-15E-1,.0,0.007",
        [-1.5, 0, 0.007],
        (-1.5, "0", Fraction(7, 1000)),
        np.array([-1.5, 0, 0.007]),
        torch.tensor([-1.5, 0, 0.007]),
    ],
)
def test_what_is_taken(given: object) -> None:
    found = given_values("values", given)
    assert torch.equal(found, torch.tensor([-1.5, 0.0, 0.007]))


def test_one_number_is_a_list_of_one() -> None:
    assert given_values("values", 3).tolist() == given_values("values", "3").tolist() == [3.0]


def test_text_is_rounded_once() -> None:
    """Just above the middle between two float32 numbers, by less than float64 tells."""
    text = "1.00000005960464477539062500000001"
    assert given_values("values", text).item() == 1 + 2**-23


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "nothing"),
        (" ", "nothing"),
        ("1,,2", "at position 2, nothing"),
        ("1,2,", "at position 3, nothing"),
        ("nan", "at position 1, 'nan' is no number"),
        ("1,inf", "at position 2, 'inf' is no number"),
        ("1,0x10", "at position 2"),
        ("1_000", "at position 1"),
        ("٣", "at position 1"),
        ("1 2", "at position 1"),
        ("0;5", "write 0.5 with a point"),
        ("1,2e18", "at position 2, '2e18' is too large"),
        ("1e9999", "too large"),
        ("1e-40", "too small; take 1e-18 to 1e18, or 0"),
        ([1.0, float("nan")], "at position 2, nan is no finite number"),
        ([1.0, float("-inf")], "at position 2"),
        ([True], "at position 1, True is no number"),
        ([None], "at position 1"),
        ([[1, 2]], "at position 1"),
        (torch.ones(2, 2), "at position 1"),
        ([1j], "at position 1"),
        ([], "must be numbers"),
        ({}, "must be numbers"),
        (None, "must be numbers"),
        (b"1", "must be numbers"),
    ],
)
def test_what_is_refused(given: object, said: str) -> None:
    with pytest.raises(OptionError, match=r"^values ") as raised:
        given_values("values", given)
    assert said in str(raised.value)


def test_endless_exponents_take_no_time() -> None:
    with pytest.raises(OptionError, match="is no number"):
        given_values("values", "1e" + "9" * 50)


@pytest.mark.parametrize("given", [0, -1, "0", "-0.5", "nan", "", True, None, [1.0], 1e40, 1e-20])
def test_scales_that_are_refused(given: object) -> None:
    with pytest.raises(OptionError, match=r"^scale "):
        given_scale("scale", given)


def test_scales() -> None:
    assert given_scale("scale", "0.014") == given_scale("scale", 0.014) == np.float32(0.014)
    with pytest.raises(OptionError):
        given_scale("scale", Decimal("NaN"))
