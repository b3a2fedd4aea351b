"""Lines through weights: the scale s and minimum m for which codes q lose least in ``w ≈ s·q + m``.

Given the codes, s and m are a weighted least squares fit; given s and m, each weight takes the
nearest code. Doing one after the other makes the error smaller each time until nothing changes,
and leads to a different end from each start, so many are tried.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor import _native
from tersor.grids import IntegerCodes
from tersor.grids.blocks import with_contiguous_values


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
        # Sums come out the same only for values that lie the same way.
        blocks = blocks.float().contiguous()
        weights = torch.ones(blocks.shape[-1]) if importance is None else importance.float()
        if importance is not None:
            weights = weights.where(weights.sum(-1, keepdim=True) > 0, 1.0)
        weights = with_contiguous_values(weights.expand_as(blocks))
        lowest, highest = codes.lowest - codes.zero, codes.highest - codes.zero
        return cls(blocks, weights, lowest, highest, has_minima, negative)


@dataclass(frozen=True, eq=False)
class Lines:
    """``scale``, ``minimum``, ``loss``: float32 ``(rows, groups)``; without minima these are 0.

    ``start``: int64, the first start that leads there.
    """

    scale: Tensor
    minimum: Tensor
    loss: Tensor
    start: Tensor


def best_lines(values: Values, scale: Tensor, minimum: Tensor, rounds: int) -> Lines:
    """The best of several lines for each block, and of those that they lead to.

    ``scale``, ``minimum``: the starts, float32 ``(rows, groups, starts)``; no scale is 0.
    ``rounds``: how often each is fitted again. The same bits for any number of threads; the calling
    one does all the work.
    """
    found = torch.empty(3, *scale.shape[:2])
    start = torch.empty(scale.shape[:2], dtype=torch.int64)
    _native.best_lines(
        values=values.blocks.numpy(),
        importance=values.weights.numpy(),
        scale=scale.contiguous().numpy(),
        minimum=minimum.contiguous().numpy(),
        rounds=rounds,
        lowest=values.lowest,
        highest=values.highest,
        has_minima=values.has_minima,
        negative=values.negative,
        best_scale=found[0].numpy(),
        best_minimum=found[1].numpy(),
        loss=found[2].numpy(),
        start=start.numpy(),
    )
    return Lines(found[0], found[1], found[2], start)


def best_lines_reference(values: Values, scale: Tensor, minimum: Tensor, rounds: int) -> Lines:
    """What :func:`best_lines` computes, block after block and start after start, in float64."""
    rows, groups, starts = scale.shape
    found, first = torch.empty(3, rows, groups), torch.zeros(rows, groups, dtype=torch.int64)
    for row in range(rows):
        for group in range(groups):
            block = values.blocks[row, group].double(), values.weights[row, group].double()
            best = (torch.inf, 0.0, 0.0)
            for start in range(starts):
                line = float(scale[row, group, start]), float(minimum[row, group, start])
                followed = _followed(values, block, line, rounds)
                if followed[0] < best[0]:
                    best, first[row, group] = followed, start
            found[:, row, group] = torch.tensor([best[1], best[2], best[0]])
    return Lines(found[0], found[1], found[2], first)


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
