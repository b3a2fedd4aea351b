"""What every rounding method gives: a rounder for matrices that read the same rows."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tersor.grids import QuantizedTensor, TensorScheme
from tersor.ranges import NOTHING, Bounds, Need, Needs, Range


@dataclass(frozen=True, eq=False)
class Rounded:
    """A quantized tensor and the bounds, shaped like its scale, that its grid was fitted to.

    ``note``: what went differently than asked, for the report; empty if nothing did. ``aimed_db``:
    signal to noise against the matrix that was rounded, in decibels, where that was meant to be
    another than the model's (``rounding.drift``).
    """

    tensor: QuantizedTensor
    bounds: Bounds
    note: str = ""
    aimed_db: float | None = None


class Rounder(Protocol):
    """Rounds matrices; called from several threads."""

    def target(self, weight: Tensor) -> Tensor | None:
        """What to round in place of ``weight (out, in)``, float32; ``None``: the weight itself."""

    def round(
        self, weight: Tensor, scheme: TensorScheme, range_: Range, scale_dtype: torch.dtype
    ) -> Rounded:
        """Round a matrix ``(out, in)``, or some rows of one whose rows have scales of their own.

        Raises :class:`~tersor.errors.NonFiniteWeight` and :class:`~tersor.errors.SchemeError`.
        """


class BaseRounding:
    """A method that looks at nothing but the weights and that any range goes with."""

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return NOTHING

    @property
    def binds(self) -> Needs:
        """Everything: weights are rounded as they are, in the order of their columns."""
        return frozenset(Need)

    @property
    def learner(self) -> Any:
        """Nothing follows."""
        return None


class BaseRounder:
    """A rounder that aims at the weights themselves."""

    def target(self, weight: Tensor) -> Tensor | None:
        """``None``."""
        del weight
        return None
