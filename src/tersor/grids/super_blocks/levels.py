"""Scales of two levels: integers of a few bits times a float16 number of 256 columns.

llama.cpp's K-quants have them (https://github.com/ggml-org/llama.cpp, ``ggml-common.h``). With d
and m of a super-block and integers L and M of its groups, a code q means ``d·L·q − m·M``; where
there are no minima, ``d·L·q``. Both products are rounded to float32.
"""

from dataclasses import dataclass

from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids.scales import StoredScale, nonzero_float16
from tersor.grids.scheme import TensorScheme


@dataclass(frozen=True, eq=False)
class SuperScales:
    """Of super-blocks. ``scale``, ``minimum``: d and m, float16 values in float32.

    ``(rows, super-blocks)``; ``minimum`` is ``None`` if the grid has no minima.
    """

    scale: Tensor
    minimum: Tensor | None

    @classmethod
    def rounded(cls, scale: Tensor, minimum: Tensor | None) -> "SuperScales":
        """The nearest that can be stored; an empty range's d is 1.

        Raises :class:`SchemeError` if one is too large for float16.
        """
        stored = nonzero_float16(scale.where(scale != 0, 1.0)).float()
        return cls(stored, None if minimum is None else nonzero_float16(minimum).float())


def by_super_block(scheme: TensorScheme, values: Tensor) -> Tensor:
    """Values of groups ``(rows, groups)`` → ``(rows, super-blocks, groups of one)``; a view.

    Raises :class:`SchemeError` if the last super-block is not whole.
    """
    rows, groups = values.shape
    together = scheme.super_groups
    if groups % together:
        raise SchemeError(
            f"{groups} groups of {scheme.group_size} columns are no super-blocks of "
            f"{together * (scheme.group_size or 1)}; use another scheme for this matrix"
        )
    return values.view(rows, -1, together)


def super_scales(scheme: TensorScheme, scale: Tensor, low: Tensor | None) -> SuperScales:
    """The upper level by which the largest of the wanted scales and minima get the last integer.

    ``scale``, ``low``: float32 ``(rows, groups)``; ``low`` at most 0, and ``None`` if the grid has
    no minima.
    """
    first, last = _levels(scheme)
    parts = by_super_block(scheme, scale)
    if first == 0:
        largest = parts.amax(-1) / last
    else:
        # What is largest lies on the first integer, which is one further from 0 than the last.
        extremes = parts.gather(-1, parts.abs().argmax(-1, keepdim=True)).squeeze(-1)
        largest = extremes / first
    minimum = None if low is None else by_super_block(scheme, -low).amax(-1) / last
    return SuperScales.rounded(largest, minimum)


def stored_scales(scheme: TensorScheme, scale: Tensor, above: SuperScales) -> StoredScale:
    """The nearest scales that can be stored, none of them 0.

    ``scale``: float32 ``(rows, groups)``, of all super-blocks of ``above``, or of some groups of
    its only one.
    """
    each = _of_each(scheme, scale, above.scale)
    first, last = _levels(scheme)
    levels = (scale / each).round_().clamp_(first, last)
    # A group of which nothing is left but its minimum, or 0, has code 0 in it.
    levels = levels.where(levels != 0, 1.0)
    return StoredScale(each * levels, scheme.scale_format)


def stored_minima(scheme: TensorScheme, low: Tensor, above: SuperScales) -> Tensor:
    """The nearest minima that can be stored, float32 ``(rows, groups)``, not above 0."""
    assert above.minimum is not None
    each = _of_each(scheme, low, above.minimum)
    _, last = _levels(scheme)
    levels = (-low / each.where(each > 0, 1.0)).round_().clamp_(0, last)
    return -(each * levels)


def _of_each(scheme: TensorScheme, values: Tensor, above: Tensor) -> Tensor:
    """The upper level of every group of ``values``."""
    if above.shape[1] == 1:
        return above.expand_as(values)
    by_super_block(scheme, values)
    return above.repeat_interleave(scheme.super_groups, dim=1)


def _levels(scheme: TensorScheme) -> tuple[int, int]:
    levels = scheme.scale_format.levels
    assert levels is not None
    return levels
