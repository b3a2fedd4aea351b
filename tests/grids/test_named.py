"""Grids by name: there and back, and what a name does not go with."""

import pytest

from every_scheme import CODEBOOKS, FITTED, FLOATS, label
from tersor.errors import SchemeError
from tersor.grids import Grid, IntegerGrid, Symmetry
from tersor.grids.kinds.integer import WIDTHS
from tersor.grids.named import named

# How codes are stored is no part of the name.
INTEGERS = [IntegerGrid(bits, symmetry) for bits in WIDTHS for symmetry in Symmetry]


@pytest.mark.parametrize("grid", [*INTEGERS, *CODEBOOKS, *FLOATS, *FITTED], ids=label)
def test_there_and_back(grid: Grid) -> None:
    written = grid.written()
    symmetry = written.get("symmetry")
    found = named(written["grid"], written.get("bits"), symmetry and Symmetry(symmetry))
    assert found == grid


@pytest.mark.parametrize(
    ("name", "bits", "symmetry", "message"),
    [
        ("nf4", 3, None, "grid nf4 has 4 bits, not 3"),
        ("fp8_e5m2", 4, None, "grid fp8_e5m2 has 8 bits, not 4"),
        ("int", None, None, "grid int needs bits"),
        ("kmeans", None, None, "grid kmeans needs bits"),
        ("log2", 3, Symmetry.FULL, "symmetry belongs to grid int, not to log2"),
        ("int", 7, None, "integers of 7 bits are not supported"),
    ],
)
def test_what_does_not_go_together(
    name: str, bits: int | None, symmetry: Symmetry | None, message: str
) -> None:
    with pytest.raises(SchemeError, match=message):
        named(name, bits, symmetry)
