"""Second moments of a linear's input: ``H = E[x xᵀ]``, which second-order methods call the Hessian.

The Hessian of ``E‖(W − Ŵ)x‖²`` in a row of W is ``2·H``; the factor cancels everywhere.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tersor import _native
from tersor.machine.parallel import one_thread_each

_Array = NDArray[np.float32] | NDArray[np.uint16]


def second_moment(pieces: Sequence[Tensor]) -> Tensor:
    """Mean of ``x xᵀ`` over all rows of ``pieces``, each ``(tokens, in)`` float: fp32 ``(in, in)``.

    Only the upper triangle is computed, and mirrored. Sums are fp32, over the rows in order, so
    they are the same on any number of cores; processors with other instructions may differ in the
    last digits. Where a processor multiplies bfloat16, that takes half the time of fp32. Not finite
    where the pieces are not; zero without a row.
    """
    width = pieces[0].shape[-1]

    def add(total: NDArray[np.float32], part: int, parts: int) -> None:
        for piece in pieces:
            _native.add_second_moment(_array(piece), total, part, parts)

    with one_thread_each() as cores:
        upper = _sums(add, (width, width), cores).triu_().div_(max(1, sum(map(len, pieces))))
        return upper + upper.triu(1).T


def cross_moment(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Mean of ``x yᵀ`` over matching rows of two lists of pieces: fp32 ``(left, right)``.

    As precise and as repeatable as :func:`second_moment`.
    """

    def add(total: NDArray[np.float32], part: int, parts: int) -> None:
        for pair in zip(left, right, strict=True):
            same = pair[0].dtype == pair[1].dtype
            x, y = (_array(piece if same else piece.float()) for piece in pair)
            _native.add_cross_moment(x, y, total, part, parts)

    with one_thread_each() as cores:
        total = _sums(add, (left[0].shape[-1], right[0].shape[-1]), cores)
        return total.div_(max(1, sum(map(len, left))))


def second_moment_reference(pieces: Sequence[Tensor]) -> Tensor:
    """What :func:`second_moment` computes, float64."""
    return cross_moment_reference(pieces, pieces)


def cross_moment_reference(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """What :func:`cross_moment` computes, float64."""
    x, y = torch.cat(list(left)).double(), torch.cat(list(right)).double()
    return x.T @ y / max(1, len(x))


def _sums(
    add: Callable[[NDArray[np.float32], int, int], None], shape: tuple[int, int], cores: int
) -> Tensor:
    """What ``add(total, part, parts)`` adds up in every part of a matrix of zeros, one per core.

    A thread owns its part of the matrix for all tokens. There are no partial sums, so memory does
    not grow with the number of cores, and nothing depends on it.
    """
    total = torch.zeros(shape)
    with ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(add, total.numpy(), part, cores) for part in range(cores)]:
            done.result()
    return total


def _array(piece: Tensor) -> _Array:
    """A piece as native code takes it: float32, or the bits of bfloat16; others become float32."""
    piece = piece.detach().contiguous()
    if piece.dtype == torch.bfloat16:
        return piece.view(torch.uint16).numpy()
    return piece.float().numpy()
