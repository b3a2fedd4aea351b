"""Products of a float16 number and small integers, taken apart again."""

import numpy as np
from numpy.typing import NDArray

from tersor.errors import SchemeError

# Every float16 number is an integer times 2^-24 below 2^40, so products with integers of 8 bits are
# integers times 2^-24 too: whole in int64, and exact in float32, which has room for 11 + 8 bits.
_UNITS = 2.0**24
_LARGEST_FACTOR = 128

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def factored(products: Floats, lowest: int, highest: int) -> tuple[Floats, Integers]:
    """The float16 number d ``(blocks, 1)`` and the integers ``(blocks, groups)`` of products.

    Integers are from ``lowest`` to ``highest``. Where several d fit it is the largest, with the
    sign of products that are 0, else positive if it can be. Raises :class:`SchemeError` where none
    does.
    """
    units = _whole(products)
    common = np.gcd.reduce(units, axis=1, keepdims=True)
    ratios = units // np.maximum(common, 1)
    first = np.where(((units == 0) & np.signbit(products)).any(axis=1, keepdims=True), -1, 1)
    d, integers = np.zeros((len(units), 1), np.float32), np.zeros_like(units)
    rest = np.arange(len(units))
    for factor in range(1, _LARGEST_FACTOR + 1):
        for sign in (first, -first):
            found = ratios[rest] * (factor * sign[rest])
            one = sign[rest] * (common[rest] // factor / _UNITS)
            fits = (found >= lowest).all(axis=1) & (found <= highest).all(axis=1)
            fits &= ((common[rest] % factor == 0) & holds_halves(one))[:, 0]
            d[rest[fits]], integers[rest[fits]] = one[fits], found[fits]
            rest = rest[~fits]
    if len(rest):
        raise SchemeError(
            f"scales from {products[rest[0]].min():.6g} to {products[rest[0]].max():.6g} are not "
            f"integers from {lowest} to {highest} times one float16 number"
        )
    return d, integers


def holds_halves(numbers: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which numbers float16 holds exactly."""
    with np.errstate(over="ignore"):
        held: NDArray[np.bool_] = numbers.astype(np.float16).astype(numbers.dtype) == numbers
    return held


def _whole(products: Floats) -> Integers:
    """Products in units of 2^-24. Raises :class:`SchemeError` where they are none."""
    scaled = products.astype(np.float64) * _UNITS
    odd = (scaled != np.rint(scaled)) | ~(np.abs(scaled) < 2.0**48)
    if odd.any():
        raise SchemeError(f"a scale of {products[odd][0]:.6g} is no product of a float16 number")
    return scaled.astype(np.int64)
