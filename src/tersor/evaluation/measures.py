"""Scores of single positions, from logits. Pure functions on tensors; no models.

The arithmetic inside is fp64: torch's fp32 ``log_softmax`` over 49152 tokens is off by 7e-6, the
same way for a whole row, which would show in a KL divergence of 1e-5.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Elements per temporary: 8 Mi values are 64 MiB in fp64, whatever the vocabulary.
_CHUNK = 1 << 23


@dataclass(frozen=True)
class Agreement:
    """How a model's predictions agree with a base's, one entry per position.

    ``kl (rows,)`` fp64 in nats, ``top1_agrees (rows,)`` bool: the likeliest token is the same,
    ``delta_p (rows,)`` fp64: probability of the true token under the model minus that under the
    base.
    """

    kl: Tensor
    top1_agrees: Tensor
    delta_p: Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """``ln softmax`` of logits ``(rows, vocab)`` over the vocabulary: fp32, computed in fp64."""
    result = torch.empty(logits.shape, dtype=torch.float32)
    for rows in row_chunks(*logits.shape):
        result[rows] = logits[rows].double().log_softmax(-1)
    return result


def true_token(log_p: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of the true token, fp64 ``(rows,)``; ``targets (rows,)`` int64."""
    return log_p.gather(-1, targets[:, None])[:, 0].double()


def agreement(log_p: Tensor, log_q: Tensor, targets: Tensor) -> Agreement:
    """Compare the model's ``log_q`` with the base's ``log_p``, both ``(rows, vocab)`` fp32.

    ``kl = Σ_v p(v)·(ln p(v) − ln q(v))``. What falls below 0 is rounding (−1e-7 at most) and is
    set to 0; identical inputs give exactly 0.
    """
    kl = torch.empty(len(log_p), dtype=torch.float64)
    for rows in row_chunks(*log_p.shape):
        p, q = log_p[rows], log_q[rows]
        # p = 0 contributes nothing, even where the difference of the logarithms is huge.
        kl[rows] = (p.exp() * (p - q)).sum(-1, dtype=torch.float64)
    return Agreement(
        kl=kl.clamp_min(0.0),
        top1_agrees=log_p.argmax(-1) == log_q.argmax(-1),
        delta_p=true_token(log_q, targets).exp() - true_token(log_p, targets).exp(),
    )


def row_chunks(rows: int, columns: int) -> list[slice]:
    """Slices over ``rows`` such that each covers about 8 Mi elements, and one row at least."""
    step = max(1, _CHUNK // max(1, columns))
    return [slice(start, start + step) for start in range(0, rows, step)]
