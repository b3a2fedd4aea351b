"""The divergence of two next-token distributions, from the final norm's outputs.

Logits of a batch take more memory than a small model. They are made for a few positions at a time,
and only the gradient by the final norm's output is kept.
"""

from typing import Any

import torch
from torch import Tensor

_ROWS = 256


def divergence(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    """``Σ KL(teacher ‖ student)`` over all positions, in nats, with a graph to ``student``.

    ``student``, ``teacher``: ``(…, hidden)``; ``head``: ``(vocab, hidden)``, in whose type logits
    are computed. Softmax and sums are float32.
    """
    rows = student.reshape(-1, student.shape[-1])
    result: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        rows, teacher.reshape(rows.shape), head
    )
    return result


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
        gradient = torch.empty(student.shape, dtype=torch.float32)
        total = torch.zeros((), dtype=torch.float64)
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(student), _ROWS):
                piece = slice(start, start + _ROWS)
                log_q = _log_probabilities(student[piece], head)
                log_p = _log_probabilities(teacher[piece], head)
                p = log_p.exp()
                total += (p * log_p.sub_(log_q)).sum(dtype=torch.float64)
                # d/dlogits of KL(p ‖ softmax(logits)) is q − p.
                slope = log_q.exp_().sub_(p).to(head.dtype)
                gradient[piece] = (slope @ head).float()
        ctx.gradient, ctx.dtype = gradient, student.dtype
        return total.float()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        return (ctx.gradient * outer).to(ctx.dtype), None, None


def _log_probabilities(hidden: Tensor, head: Tensor) -> Tensor:
    return (hidden.to(head.dtype) @ head.T).float().log_softmax(-1)
