"""The grids by the names that recipes and artifacts have for them."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from tersor.errors import SchemeError
from tersor.grids.grid import Grid
from tersor.grids.kinds.affine import AffineGrid
from tersor.grids.kinds.codebook import fp4, kmeans, log2, nf4
from tersor.grids.kinds.integer import IntegerGrid, Symmetry
from tersor.grids.kinds.small_float import FloatGrid

GRIDS: dict[str, Callable[..., Grid]] = {
    "int": IntegerGrid,
    "nf4": nf4,
    "fp4": fp4,
    "log2": log2,
    "kmeans": kmeans,
    "fp8_e4m3": partial(FloatGrid, "fp8_e4m3"),
    "fp8_e5m2": partial(FloatGrid, "fp8_e5m2"),
    "affine": AffineGrid,
}
"""What makes a grid; it takes ``bits`` if there are several widths. Inverse: ``Grid.written``."""


def named(name: str, bits: int | None = None, symmetry: Symmetry | None = None) -> Grid:
    """The grid of a name in :data:`GRIDS`.

    Raises :class:`SchemeError` for parameters that the grid does not have, or lacks.
    """
    make = GRIDS[name]
    takes = signature(make).parameters
    parameters: dict[str, Any] = {}
    if symmetry is not None:
        if "symmetry" not in takes:
            raise SchemeError(f"symmetry belongs to grid int, not to {name}")
        parameters["symmetry"] = symmetry
    if "bits" in takes:
        if bits is None:
            raise SchemeError(f"grid {name} needs bits")
        return make(bits, **parameters)
    grid = make(**parameters)
    if bits not in (None, grid.bits):
        raise SchemeError(f"grid {name} has {grid.bits} bits, not {bits}")
    return grid
