"""The Hessian of a layer, factorized for GPTQ: how much of each error is passed on to whom.

GPTQ (Frantar et al., https://arxiv.org/abs/2210.17323) passes the error of a column on to later
columns by the rows of ``U``, where ``H⁻¹ = UᵀU``. Neither the inverse nor ``U`` is needed for that.
With ``H = R Rᵀ``, ``R`` upper triangular, we have ``U = R⁻¹``, and the weight that GPTQ rounds at
step j is

    w_j + Σ_{i<j} F_ji (w_i − q_i)    with F_ji = R_ij / R_jj

(``w`` the original weights, ``q`` the rounded ones): Babai's nearest plane algorithm, see
Chen et al., https://arxiv.org/abs/2507.18553. One Cholesky factorization of the Hessian with its
columns reversed yields ``F``: a third of the work of inverting first, and without its loss of
digits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tersor import _native
from tersor.errors import SchemeError

Order = Literal["none", "activation", "group"]
"""Order in which columns are rounded; those that come early have more others to correct them.

- ``none``: as they are stored
- ``activation``: largest ``H_ii`` first
- ``group``: largest ``H_ii`` first within each group, and groups with the largest mean first (the
  group-aware reordering of GPTQModel): a group is finished before the next one begins, and so is a
  super-block, whose groups share something
"""

_RAISE = 5.0
_FIRST_RAISE = 0.01


@dataclass(frozen=True, eq=False)
class HessianFactor:
    """What matrices that share an input share of GPTQ's work.

    - ``feedback``: ``F``, float32 ``(in, in)``, strictly lower triangular, in the order of
      rounding; ``None`` if the Hessian is of no use, which ``note`` then explains
    - ``permutation``: int64 ``(in,)``, the column that is rounded at each step
    - ``diagonal``: float32 ``(in,)``, of the Hessian as given: ``E[x_j²]``
    - ``order``, ``group_size`` and ``super_groups``: what the permutation was made for
    - ``note``: what went differently than asked, for the report
    """

    feedback: Tensor | None
    permutation: Tensor
    diagonal: Tensor
    order: Order
    group_size: int | None
    note: str = ""
    super_groups: int = 1


def hessian_factor(
    hessian: Tensor, damping: float, order: Order, group_size: int | None, super_groups: int = 1
) -> HessianFactor:
    """Factorize ``E[x xᵀ]``, float32 ``(in, in)``, symmetric; its scale does not matter.

    ``damping`` times the mean diagonal is added to the diagonal; where that does not make the
    matrix positive definite, five times as much, and so on up to 1. Inputs that are always 0 take
    no part: nothing is passed on to or from their columns. ``group_size``: of the matrices' scheme;
    order ``group`` without one is order ``activation``. ``super_groups``: groups that belong
    together, of the scheme too.

    The same bits for any number of threads. Raises :class:`SchemeError` if the Hessian is not
    square.
    """
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or not len(hessian):
        raise SchemeError(f"a Hessian is square, and not of shape {tuple(hessian.shape)}")
    hessian = hessian.float().contiguous()
    diagonal = hessian.diagonal().clone()
    permutation = _permutation(diagonal, order, group_size, super_groups)
    feedback, note = _feedback(hessian, permutation, damping)
    return HessianFactor(feedback, permutation, diagonal, order, group_size, note, super_groups)


def dampings(damping: float) -> Iterator[float]:
    """The dampings to try one after the other."""
    yield damping
    while damping < 1:
        damping = min(1.0, max(damping * _RAISE, _FIRST_RAISE))
        yield damping


def damping_unit(diagonal: Tensor) -> float:
    """What a damping is multiplied by: the mean over the inputs that are not always 0."""
    return float(diagonal[diagonal != 0].double().mean())


def _feedback(hessian: Tensor, permutation: Tensor, damping: float) -> tuple[Tensor | None, str]:
    if not bool(torch.stack(hessian.aminmax()).isfinite().all()):
        return None, "Hessian holds NaN or infinity: rounded to nearest"
    diagonal = hessian.diagonal()
    live = diagonal != 0
    if not bool(live.any()):
        return None, "Hessian is zero: rounded to nearest"
    if not bool(live.all()):
        hessian = hessian * live.outer(live)
    unit = damping_unit(diagonal)
    feedback = torch.empty_like(hessian)
    for used in dampings(damping):
        ridge = torch.where(live, used * unit, 1.0).double()
        finished = _native.gptq_factor(
            hessian.numpy(), permutation.numpy(), ridge.numpy(), feedback.numpy()
        )
        if finished == len(hessian):
            return feedback, "" if used == damping else f"damping raised to {used:g}"
    return None, "Hessian not positive definite even with damping 1: rounded to nearest"


def _permutation(
    diagonal: Tensor, order: Order, group_size: int | None, super_groups: int
) -> Tensor:
    """Columns in the order of rounding; ties as they are stored."""
    columns = len(diagonal)
    if order == "none":
        return torch.arange(columns)
    by_size = diagonal.sort(descending=True, stable=True).indices
    if order == "activation" or group_size is None:
        return by_size
    in_groups = _in_blocks(by_size, diagonal, group_size)
    return _in_blocks(in_groups, diagonal, group_size * super_groups)


def _in_blocks(order: Tensor, diagonal: Tensor, size: int) -> Tensor:
    """Columns block by block, those with the largest mean first; in a block as in ``order``."""
    means = torch.stack([diagonal[s : s + size].mean() for s in range(0, len(diagonal), size)])
    rank = means.sort(descending=True, stable=True).indices.argsort()
    return order[rank[order // size].sort(stable=True).indices]
