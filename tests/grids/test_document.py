"""Schemes as they are written: nothing is lost, nonsense is refused."""

import pytest

from every_scheme import LINEARS, label
from tersor.errors import RecipeError, SchemeError
from tersor.grids import Scheme
from tersor.grids.document import scheme_from_dict, scheme_to_dict


@pytest.mark.parametrize(
    "scheme", [s for s in LINEARS if getattr(s.weights.grid, "signed", True)], ids=label
)
def test_schemes_there_and_back(scheme: Scheme) -> None:
    assert scheme_from_dict(scheme_to_dict(scheme)) == scheme


def test_schemes_of_nonsense() -> None:
    for data in ({}, {"weights": None}, {"weights": []}):
        with pytest.raises(RecipeError, match="weights: "):
            scheme_from_dict(data)
    with pytest.raises(SchemeError):
        scheme_from_dict({"weights": {"grid": "int", "bits": 7}})
