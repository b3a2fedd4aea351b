"""Values as people write them → float32, the type that grids calculate in."""

import numbers
import re
from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from reprlib import repr as clipped
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tersor.errors import OptionError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_MOST = 1_000_000
# The squares of errors must be float32 numbers too.
_LEAST = Fraction(1, 10**18)


def given_values(option: str, given: Any) -> Tensor:
    """Float32 ``(n,)`` from ``"-1.5, 0, 7e-3"`` or a sequence of numbers, each rounded once.

    Raises :class:`OptionError` with the position of what is no finite number, or has a size that is
    neither 0 nor from 1e-18 to 1e18.
    """
    items = _items(option, given)
    if len(items) > _MOST:
        raise OptionError(option, f"must be {_MOST} numbers at most, not {len(items)}")
    found = [_number(option, at, item) for at, item in enumerate(items, 1)]
    return torch.tensor(found)


def given_scale(option: str, given: Any) -> float:
    """A scale: a number above 0 that float32 holds. Raises :class:`OptionError`."""
    value = _number(option, None, given)
    if value <= 0:
        raise OptionError(option, f"must be a number above 0, not {clipped(given)}")
    return value


def _items(option: str, given: Any) -> Sequence[Any]:
    if isinstance(given, str):
        if not given.strip():
            raise OptionError(option, "must be numbers with commas between them, not nothing")
        return given.split(",")
    if isinstance(given, numbers.Real):
        return [given]
    try:
        items = list(given)
    except TypeError:
        items = []
    if isinstance(given, bytes | dict) or not items:
        raise OptionError(option, f"must be numbers, not {clipped(given)}")
    return items


def _number(option: str, at: int | None, item: Any) -> float:
    """One number; ``at``: its position, if it is one of several."""
    where = "" if at is None else f"at position {at}, "
    if isinstance(item, str):
        text = item.strip()
        if not text:
            raise OptionError(option, f"{where}nothing between commas" if at else "is empty")
        if not _NUMBER.fullmatch(text):
            hint = "; write 0.5 with a point" if re.fullmatch(r"\d+;\d+", text) else ""
            raise OptionError(option, f"{where}{clipped(text)} is no number{hint}")
        exact = Fraction(text)
    elif not isinstance(item, bool) and _is_real(item):
        plain = float(item)
        if not isfinite(plain):
            raise OptionError(option, f"{where}{plain} is no finite number")
        exact = Fraction(plain)
    else:
        raise OptionError(option, f"{where}{clipped(item)} is no number")
    return _in_bounds(option, where, item, exact)


def _is_real(item: Any) -> bool:
    """Whether it is one real number, of any library."""
    scalar = isinstance(item, torch.Tensor) and item.ndim == 0 and not item.is_complex()
    return scalar or isinstance(item, numbers.Real)


def _in_bounds(option: str, where: str, item: Any, exact: Fraction) -> float:
    if exact and not _LEAST <= abs(exact) <= 1 / _LEAST:
        how = "small" if abs(exact) < 1 else "large"
        raise OptionError(option, f"{where}{clipped(item)} is too {how}; take 1e-18 to 1e18, or 0")
    return _nearest_float32(exact)


def _nearest_float32(exact: Fraction) -> float:
    """Rounded once: by way of float64 it would be twice."""
    first = np.float32(float(exact))
    if Fraction(float(first)) == exact:
        return float(first)
    near = (
        np.nextafter(first, np.float32(-np.inf)),
        first,
        np.nextafter(first, np.float32(np.inf)),
    )
    finite = [one for one in near if np.isfinite(one)]
    return float(min(finite, key=lambda one: (abs(Fraction(float(one)) - exact), _is_odd(one))))


def _is_odd(value: np.float32) -> int:
    return int(value.view(np.uint32) & 1)
