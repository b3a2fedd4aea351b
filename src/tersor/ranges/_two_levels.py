"""From the scales and minima that groups want to those of two levels that they can have.

A group with weights h, values x and codes q loses ``Σ h (x − s·q − m)²``, so around what it wants
(s, m) a change costs ``A Δs² + 2 B Δs Δm + C Δm²`` with A = Σ h q², B = Σ h q, C = Σ h. That
chooses d, the upper level of scales, and then, given the scales, that of minima. What follows looks
at the weights themselves: the integers of each group, given d and m, then d and m, given integers
and codes, which is least squares again.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tersor.grids import Parameters, StoredScale, SuperScales, TensorScheme
from tersor.grids.super_blocks import by_super_block
from tersor.ranges._lines import Lines, Values, best_lines

_SHARES = torch.linspace(0.7, 1.1, 17)
_POLISHES = 2


@dataclass(frozen=True, eq=False)
class _State:
    """``levels``, ``minima``: integers as float32 ``(rows, groups)``; ``above``: d and m."""

    levels: Tensor
    minima: Tensor
    above: SuperScales


def on_two_levels(
    values: Values, wanted: Lines, scheme: TensorScheme, above: SuperScales | None
) -> Parameters:
    """The parameters that lose least, as far as they are found.

    ``wanted``: what each group would have of its own. ``above``: the upper level, if it is known;
    ``values`` are then groups of one super-block.
    """
    fit = _Fit(values, wanted, scheme)
    state = fit.start() if above is None else fit.within(above)
    state = fit.best_integers(state)
    for _ in range(_POLISHES if above is None else 0):
        state = fit.best_integers(fit.better_above(state))
    scale, minimum = fit.products(state.levels, state.minima, state.above)
    return Parameters(
        StoredScale(scale, scheme.scale_format), minimum if values.has_minima else None, state.above
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    values: Values
    wanted: Lines
    scheme: TensorScheme

    @property
    def range(self) -> tuple[int, int]:
        """The integers of the lower level."""
        levels = self.scheme.scale_format.levels
        assert levels is not None
        return levels

    def start(self) -> _State:
        """Upper levels for what groups want."""
        curvature, cross, total = self._curvatures()
        first, last = self.range
        extreme = self._largest(self.wanted.scale)
        d = _best_unit(
            self._parts(self.wanted.scale),
            self._parts(curvature),
            extreme / (last or 1),
            self.range,
        )
        minimum = None
        if self.values.has_minima:
            scale = self._each(d) * self._rounded(self.wanted.scale, d, max(first, 1), last)
            owed = (self.wanted.scale - scale) * cross / total
            low = (self.wanted.minimum + owed).clamp(max=0)
            largest = by_super_block(self.scheme, -low).amax(-1)
            minimum = _best_unit(self._parts(-low), self._parts(total), largest / last, (0, last))
        return self.within(SuperScales.rounded(d, minimum))

    def within(self, above: SuperScales) -> _State:
        """The integers nearest to what groups want."""
        first, last = self.range
        levels = self._rounded(self.wanted.scale, above.scale, first, last)
        levels = levels.where(levels != 0, 1.0)
        minima = torch.zeros_like(levels)
        if above.minimum is not None:
            minima = self._rounded(-self.wanted.minimum, above.minimum, 0, last)
        return _State(levels, minima, above)

    def best_integers(self, state: _State) -> _State:
        """Integers one up or down from those of each group, if these lose less."""
        first, last = self.range
        steps = torch.tensor([0.0, -1.0, 1.0])
        if self.values.has_minima:
            pairs = torch.cartesian_prod(steps, steps)
        else:
            pairs = torch.stack((steps, torch.zeros(3)), -1)
        levels = (state.levels.unsqueeze(-1) + pairs[:, 0]).clamp(first, last)
        levels = levels.where(levels != 0, state.levels.unsqueeze(-1))
        minima = (state.minima.unsqueeze(-1) + pairs[:, 1]).clamp(0, last)
        which = self._chosen(replace(state, levels=levels, minima=minima)).start.unsqueeze(-1)
        return replace(
            state,
            levels=levels.gather(-1, which).squeeze(-1),
            minima=minima.gather(-1, which).squeeze(-1),
        )

    def better_above(self, state: _State) -> _State:
        """The upper level that fits the integers and their codes best, where it loses less."""
        codes = self._codes(state)
        weights, x = self.values.weights, self.values.blocks
        a = codes * state.levels.unsqueeze(-1)
        aa, ax = (self._sum(weights * a * one) for one in (a, x))
        scale, minimum = ax / aa.where(aa > 0, 1.0), None
        sound = aa > 0
        if state.above.minimum is not None:
            b = state.minima.unsqueeze(-1)
            ab, bb, bx = (self._sum(weights * b * one) for one in (a, b.expand_as(x), x))
            determinant = aa * bb - ab * ab
            exact = determinant > 1e-6 * aa * bb
            divisor = determinant.where(exact, 1.0)
            both = (ax * bb - ab * bx) / divisor, (ab * ax - aa * bx) / divisor
            scale = scale.where(~exact, both[0])
            minimum = state.above.minimum.where(~exact, both[1])
            sound &= (scale > 0) & (minimum >= 0)
            minimum = minimum.where(sound, state.above.minimum)
        scale = scale.where(sound & (scale != 0), state.above.scale)
        found = replace(state, above=SuperScales.rounded(scale, minimum))
        return self._better(state, found)

    def products(self, levels: Tensor, minima: Tensor, above: SuperScales) -> tuple[Tensor, Tensor]:
        """Scales and minima; integers ``(rows, groups, …)``."""
        d = self._each(above.scale)
        d = d if levels.ndim == 2 else d.unsqueeze(-1)
        if above.minimum is None:
            return d * levels, torch.zeros_like(minima)
        m = self._each(above.minimum)
        return d * levels, -((m if minima.ndim == 2 else m.unsqueeze(-1)) * minima)

    def _better(self, one: _State, other: _State) -> _State:
        """Of each super-block the state that loses less."""
        losses = [
            self._parts_sum(self._chosen(_with_choices(state)).loss) for state in (one, other)
        ]
        take = losses[1] < losses[0]
        minimum = one.above.minimum
        if minimum is not None:
            assert other.above.minimum is not None
            minimum = torch.where(take, other.above.minimum, minimum)
        above = SuperScales(torch.where(take, other.above.scale, one.above.scale), minimum)
        return replace(one, above=above)

    def _chosen(self, state: _State) -> Lines:
        """What each group loses least with, among choices of integers ``(rows, groups, …)``."""
        return best_lines(self.values, *self.products(state.levels, state.minima, state.above), 0)

    def _codes(self, state: _State) -> Tensor:
        scale, minimum = self.products(state.levels, state.minima, state.above)
        shifted = self.values.blocks - minimum.unsqueeze(-1)
        codes = shifted.div_(scale.unsqueeze(-1)).round_()
        return codes.clamp_(self.values.lowest, self.values.highest)

    def _curvatures(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, B and C of every group."""
        shifted = self.values.blocks - self.wanted.minimum.unsqueeze(-1)
        codes = shifted.div_(self.wanted.scale.unsqueeze(-1)).round_()
        codes.clamp_(self.values.lowest, self.values.highest)
        weights = self.values.weights
        weighted = weights * codes
        return (weighted * codes).sum(-1), weighted.sum(-1), weights.sum(-1)

    def _largest(self, scale: Tensor) -> Tensor:
        parts = self._parts(scale)
        return parts.gather(-1, parts.abs().argmax(-1, keepdim=True)).squeeze(-1)

    def _rounded(self, values: Tensor, unit: Tensor, first: int, last: int) -> Tensor:
        each = self._each(unit)
        return (values / each.where(each != 0, 1.0)).round_().clamp_(first, last)

    def _each(self, above: Tensor) -> Tensor:
        if above.shape[1] == 1:
            return above.expand(self.wanted.scale.shape)
        return above.repeat_interleave(self.scheme.super_groups, dim=1)

    def _parts(self, groups: Tensor) -> Tensor:
        return by_super_block(self.scheme, groups.contiguous())

    def _parts_sum(self, groups: Tensor) -> Tensor:
        return self._parts(groups).sum(-1)

    def _sum(self, values: Tensor) -> Tensor:
        return self._parts_sum(values.sum(-1))


def _with_choices(state: _State) -> _State:
    return replace(state, levels=state.levels.unsqueeze(-1), minima=state.minima.unsqueeze(-1))


def _best_unit(values: Tensor, weights: Tensor, unit: Tensor, levels: tuple[int, int]) -> Tensor:
    """The unit in which values ``(rows, super-blocks, groups)`` are integers with least loss.

    ``weights``: of squared errors. ``unit``: float32 ``(rows, super-blocks)``, one to start from.
    """
    tried = [unit / share for share in _SHARES.tolist()]
    if levels[0] < 0:
        tried += [-one for one in tried]
    best, least = unit, torch.full_like(unit, torch.inf)
    for start in tried:
        found = start.where(start != 0, 1.0)
        for _ in range(2):
            integers = (values / found.unsqueeze(-1)).round_().clamp_(*levels)
            square = (weights * integers * integers).sum(-1)
            fitted = (weights * values * integers).sum(-1) / square.where(square > 0, 1.0)
            found = fitted.where((square > 0) & (fitted != 0), found)
        integers = (values / found.unsqueeze(-1)).round_().clamp_(*levels)
        loss = (weights * (values - found.unsqueeze(-1) * integers).square()).sum(-1)
        better = loss < least
        best, least = torch.where(better, found, best), torch.where(better, loss, least)
    return best
