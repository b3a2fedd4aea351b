"""Scales and minima by weighted least squares, from many starts.

What a linear's output loses is ``Σ_j Δw_j² E[x_j²]`` if inputs are uncorrelated. For given codes
that is a quadratic function of the scale, and of the minimum, so both are computed and not searched
for; :mod:`tersor.ranges._lines` does that from many starts, among them the whole range. Where
scales have two levels, :mod:`tersor.ranges._two_levels` finds the upper one too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import Parameters, ScaleFormat, ScaleStorage, TensorScheme
from tersor.grids.scales import nonzero_float16, store_float, store_float16
from tersor.ranges._lines import Lines, Values, best_lines
from tersor.ranges._two_levels import on_two_levels
from tersor.ranges.estimator import BaseRange, Bound, Bounds, Fitted, bound_by_importance
from tersor.ranges.observation import Need, Needs, Observation

_CODES = 6


@dataclass(frozen=True)
class LeastSquares(BaseRange):
    """``starts``: how many shares of the whole range are tried, from 1 to ``smallest`` or as far as
    a few codes take, at each end of it; ``rounds``: how often codes and scale are fitted to each
    other from there.
    """

    starts: int = 6
    smallest: float = 0.5
    rounds: int = 3

    def __post_init__(self) -> None:
        if self.starts < 1 or not 0 < self.smallest <= 1 or self.rounds < 0:
            raise RecipeError(
                f"range least_squares: starts {self.starts}, smallest {self.smallest}, rounds "
                f"{self.rounds}; starts must be at least 1, smallest within (0, 1], rounds not "
                "below 0"
            )

    @property
    def needs(self) -> Needs:
        """``E[x_j²]``."""
        return frozenset({Need.MEAN_SQUARE})

    def bind(self, observed: Observation | None) -> Bound:
        """All columns count alike where inputs tell nothing; the note says why."""
        return bound_by_importance(self, observed)

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """The span of what is fitted."""
        return self.fitted(blocks, scheme, storage, importance).bounds

    def fitted(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Fitted:
        """See :class:`~tersor.ranges.estimator.RangeEstimator`.

        Raises :class:`SchemeError` for grids with integer zero points, tables and small floats.
        """
        values = _values(blocks, importance, scheme)
        lines = best_lines(values, *self._starts(values, scheme), self.rounds)
        if scheme.scale_format.levels is not None:
            parameters = on_two_levels(values, lines, scheme, storage.above)
        else:
            parameters = _stored(lines, scheme, storage)
        scale, zero = parameters.scale.value(), parameters.zero_point
        return Fitted(parameters, scheme.grid.span(scale, zero))

    def _starts(self, values: Values, scheme: TensorScheme) -> tuple[Tensor, Tensor]:
        """Scales and minima to begin with, float32 ``(rows, groups, starts)``."""
        low, high = (end.unsqueeze(-1) for end in values.blocks.aminmax(dim=-1))
        low, high = low.clamp(max=0), high.clamp(min=0)
        steps = values.highest - values.lowest
        if values.has_minima:
            ends = torch.cartesian_prod(*2 * [self._shares(steps, self.starts)])
            minimum = low * ends[:, 0]
            scale = (high * ends[:, 1] - minimum) / steps
            return scale.where(scale > 0, 1.0), minimum
        shares = self._shares(values.highest, 2 * self.starts)
        if _has_signs(scheme):
            shares = torch.cat((shares, -shares))
        scale = torch.maximum(-low, high) / values.highest * shares
        return scale.where(scale != 0, 1.0), torch.zeros_like(scale)

    def _shares(self, last: int, count: int) -> Tensor:
        """Shares of a range that ends with code ``last``: it would end up to six codes later."""
        codes = torch.linspace(0.0, min(_CODES, last / self.smallest - last), count)
        return last / (last + codes)


def _values(blocks: Tensor, importance: Tensor | None, scheme: TensorScheme) -> Values:
    grid = scheme.grid
    if grid.integers is None or not (grid.symmetric or grid.has_minima):
        raise SchemeError(
            f"range least_squares has no {scheme.grid.name} with such zero points or levels; use "
            "range importance"
        )
    negative = scheme.scale_format.levels is not None
    return Values.of(
        blocks,
        importance,
        grid.integers,
        has_minima=grid.has_minima,
        negative=negative,
    )


def _has_signs(scheme: TensorScheme) -> bool:
    """Whether scales may be negative."""
    levels, integers = scheme.scale_format.levels, scheme.grid.integers
    assert integers is not None
    return integers.signed_scale if levels is None else levels[0] < 0


def _stored(lines: Lines, scheme: TensorScheme, storage: ScaleStorage) -> Parameters:
    if scheme.scale_format is ScaleFormat.FLOAT16:
        scale = store_float16(lines.scale)
        minimum = nonzero_float16(lines.minimum).float()
    else:
        scale, minimum = store_float(lines.scale, storage.dtype), lines.minimum
    return Parameters(scale, minimum if scheme.grid.has_minima else None)
