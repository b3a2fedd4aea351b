"""Lines through weights: the scale s and minimum m for which codes q lose least in ``w ≈ s·q + m``.

Given the codes, s and m are a weighted least squares fit; given s and m, each weight takes the
nearest code. Doing one after the other makes the error smaller each time until nothing changes,
and leads to a different end from each start, so many are tried.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.grids import IntegerCodes


@dataclass(frozen=True, eq=False)
class Values:
    """What lines are drawn through.

    ``blocks``: float32 ``(rows, groups, size)``; ``weights``: of the squared errors, float32, of
    the same shape. ``lowest``, ``highest``: the codes, such that 0 stands for the minimum, or for
    0. ``has_minima``: whether lines have a minimum; ``negative``: that is not above 0.
    """

    blocks: Tensor
    weights: Tensor
    lowest: int
    highest: int
    has_minima: bool
    negative: bool = False

    @classmethod
    def of(
        cls,
        blocks: Tensor,
        importance: Tensor | None,
        codes: IntegerCodes,
        *,
        has_minima: bool,
        negative: bool,
    ) -> "Values":
        """The values of blocks; where nothing in a block is important, everything is alike."""
        weights = torch.ones(1) if importance is None else importance.float()
        if importance is not None:
            weights = weights.where(weights.sum(-1, keepdim=True) > 0, 1.0)
        lowest, highest = codes.lowest - codes.zero, codes.highest - codes.zero
        return cls(blocks, weights.expand_as(blocks), lowest, highest, has_minima, negative)

    def chunks(self, values: int) -> Iterator[tuple[slice, "Values"]]:
        """Runs of rows, each with so many values at most."""
        step = max(1, values // max(1, self.blocks[0].numel()))
        for start in range(0, len(self.blocks), step):
            rows = slice(start, start + step)
            part = Values(
                self.blocks[rows],
                self.weights[rows],
                self.lowest,
                self.highest,
                self.has_minima,
                self.negative,
            )
            yield rows, part


@dataclass(frozen=True, eq=False)
class Lines:
    """``scale``, ``minimum``, ``loss``: float32 ``(rows, groups)``; without minima these are 0."""

    scale: Tensor
    minimum: Tensor
    loss: Tensor


_TOGETHER = 1 << 18


def best_lines(values: Values, scale: Tensor, minimum: Tensor, rounds: int) -> Lines:
    """The best of several lines for each block, and of those that they lead to.

    ``scale``, ``minimum``: the starts, float32 ``(rows, groups, starts)``; no scale is 0.
    ``rounds``: how often each is fitted again. All starts go side by side.
    """
    starts = scale.shape[-1]
    parts = [
        _best_of(part, scale[rows], minimum[rows], rounds)
        for rows, part in values.chunks(_TOGETHER // starts)
    ]
    return Lines(*(torch.cat(found) for found in zip(*parts, strict=True)))


def _best_of(
    values: Values, scale: Tensor, minimum: Tensor, rounds: int
) -> tuple[Tensor, Tensor, Tensor]:
    blocks, weights = values.blocks.unsqueeze(-2), values.weights.unsqueeze(-2)
    best = _Best(scale, minimum)
    for left in range(rounds, -1, -1):
        s, m = scale.unsqueeze(-1), minimum.unsqueeze(-1)
        shifted = blocks - m if values.has_minima else blocks
        codes = (shifted / s).round_().clamp_(values.lowest, values.highest)
        error = torch.addcmul(shifted, codes, s, value=-1)
        best.take(error.square_().mul_(weights).sum(-1), scale, minimum)
        if left:
            scale, minimum = _refitted(values, blocks, weights, codes, (scale, minimum))
    loss, which = best.loss.min(-1, keepdim=True)
    found = (best.scale.gather(-1, which), best.minimum.gather(-1, which), loss)
    return found[0].squeeze(-1), found[1].squeeze(-1), found[2].squeeze(-1)


class _Best:
    """The best line so far from each start."""

    def __init__(self, scale: Tensor, minimum: Tensor) -> None:
        self.scale, self.minimum = scale, minimum
        self.loss = torch.full_like(scale, torch.inf)

    def take(self, loss: Tensor, scale: Tensor, minimum: Tensor) -> None:
        """Another line from each start."""
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.scale = torch.where(better, scale, self.scale)
        self.minimum = torch.where(better, minimum, self.minimum)


def _refitted(
    values: Values, blocks: Tensor, weights: Tensor, codes: Tensor, before: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Weighted least squares; where codes tell nothing, the line stays what it was."""
    weighted = weights * codes
    product, square = (weighted * blocks).sum(-1), (weighted * codes).sum(-1)
    plain = product / square.where(square > 0, 1.0)
    if not values.has_minima:
        return torch.where(square > 0, plain, before[0]).where(plain != 0, before[0]), before[1]
    total, first = weights.sum(-1), weighted.sum(-1)
    mean = (weights * blocks).sum(-1)
    determinant = total * square - first * first
    sound = determinant > 1e-6 * total * square
    divisor = determinant.where(sound, 1.0)
    scale = (total * product - first * mean) / divisor
    minimum = (square * mean - first * product) / divisor
    if values.negative:
        above = minimum > 0
        scale, minimum = scale.where(~above, plain), minimum.clamp(max=0)
    sound &= scale > 0
    return scale.where(sound, before[0]), minimum.where(sound, before[1])


def best_lines_reference(values: Values, scale: Tensor, minimum: Tensor, rounds: int) -> Lines:
    """What :func:`best_lines` computes, block after block and start after start, in float64."""
    rows, groups, starts = scale.shape
    found = torch.empty(3, rows, groups)
    for row in range(rows):
        for group in range(groups):
            block = values.blocks[row, group].double(), values.weights[row, group].double()
            best = (torch.inf, 0.0, 0.0)
            for start in range(starts):
                line = float(scale[row, group, start]), float(minimum[row, group, start])
                best = min(best, _followed(values, block, line, rounds), key=lambda one: one[0])
            found[:, row, group] = torch.tensor([best[1], best[2], best[0]])
    return Lines(*found)


def _followed(
    values: Values, block: tuple[Tensor, Tensor], line: tuple[float, float], rounds: int
) -> tuple[float, float, float]:
    """Loss, scale and minimum of the best line that a start leads to."""
    (x, w), best = block, (torch.inf, *line)
    for _ in range(rounds + 1):
        scale, minimum = line
        codes = ((x - minimum) / scale).round().clamp(values.lowest, values.highest)
        loss = float((w * (x - minimum - scale * codes).square()).sum())
        best = min(best, (loss, *line), key=lambda one: one[0])
        columns = [codes, torch.ones_like(codes)] if values.has_minima else [codes]
        fitted = _least_squares(x, w, columns)
        if values.has_minima and values.negative and fitted[1] > 0:
            fitted = [_least_squares(x, w, columns[:1])[0], 0.0]
        changes = bool((codes != codes[0]).any()) if values.has_minima else bool(codes.any())
        if not changes or fitted[0] == 0 or (values.has_minima and fitted[0] < 0):
            break
        line = (fitted[0], fitted[1] if values.has_minima else 0.0)
    return best


def _least_squares(x: Tensor, w: Tensor, columns: list[Tensor]) -> list[float]:
    root, design = w.sqrt(), torch.stack(columns, -1)
    fitted = torch.linalg.lstsq(root[:, None] * design, (root * x)[:, None], driver="gelsd")
    return [float(one) for one in fitted.solution.flatten()]
