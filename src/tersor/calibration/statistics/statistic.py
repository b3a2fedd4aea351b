"""What a running statistic is."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from torch import Tensor

from tersor.errors import SourceError, TextError

R_co = TypeVar("R_co", covariant=True)


class Statistic(Protocol[R_co]):
    """Sees activations piece by piece and keeps what its result needs, never the activations."""

    def update(self, x: Tensor) -> None:
        """Account for ``x (tokens, in)``: float, finite, possibly without a row."""
        ...

    def result(self) -> R_co:
        """What was seen so far, as a frozen value; :class:`TextError` if that is nothing."""
        ...


class Several:
    """Several statistics of the same activations: the result is a dictionary of their results."""

    def __init__(self, parts: Mapping[str, Statistic[object]]) -> None:
        self._parts = dict(parts)

    def update(self, x: Tensor) -> None:
        """Pass ``x (tokens, in)`` on to every part."""
        for part in self._parts.values():
            part.update(x)

    def result(self) -> dict[str, object]:
        """The parts' results by name; :class:`TextError` if no token was seen."""
        return {name: part.result() for name, part in self._parts.items()}


def seen(tokens: int) -> int:
    """``tokens``, refused when there were none: :class:`TextError`."""
    if tokens == 0:
        raise TextError("no token reached this statistic; use more calibration text")
    return tokens


def finite(x: Tensor) -> Tensor:
    """``x``, refused when a value is NaN or infinite: :class:`SourceError`."""
    # One pass and no mask in memory: the difference is finite only if both ends are.
    low, high = x.aminmax() if x.numel() else (x.new_zeros(()), x.new_zeros(()))
    if not bool(low.isfinite() & high.isfinite()):
        raise SourceError("an activation is NaN or infinite; the model overflows in fp32")
    return x
