"""Second moments of a linear's input: ``H = E[x xᵀ]``, which second-order methods call the Hessian.

The Hessian of ``E‖(W − Ŵ)x‖²`` in a row of W is ``2·H``; the factor cancels everywhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tersor.parallel import in_order

_PANEL = 256


def second_moment(pieces: Sequence[Tensor]) -> Tensor:
    """Mean of ``x xᵀ`` over all rows of ``pieces``, each ``(tokens, in)`` float: fp32 ``(in, in)``.

    Only the upper triangle is computed, in panels of columns, and mirrored. The sum runs over the
    pieces in order, so it is the same on any number of cores. Not finite where the pieces are not;
    zero without a row.
    """
    width = pieces[0].shape[-1]
    total = torch.zeros(width, width)
    for partial in in_order(_upper, pieces):
        total += partial
    tokens = sum(len(piece) for piece in pieces)
    upper = total.triu_().div_(max(1, tokens))
    return upper + upper.triu(1).T


def cross_moment(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Mean of ``x yᵀ`` over matching rows of two lists of pieces: fp32 ``(in, in)``."""
    width = left[0].shape[-1]
    total = torch.zeros(width, width)

    def product(pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0].float().T @ pair[1].float()

    for partial in in_order(product, zip(left, right, strict=True)):
        total += partial
    return total.div_(max(1, sum(len(piece) for piece in left)))


def _upper(x: Tensor) -> Tensor:
    """``xᵀx`` with the panels on and right of the diagonal filled."""
    x = x.float()
    width = x.shape[-1]
    product = torch.zeros(width, width)
    for start in range(0, width, _PANEL):
        stop = min(start + _PANEL, width)
        torch.mm(x[:, start:stop].T, x[:, start:], out=product[start:stop, start:])
    return product
