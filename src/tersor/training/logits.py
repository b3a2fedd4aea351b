"""The divergence of two next-token distributions, from the final norm's outputs.

Logits of a batch take more memory than a small model. They are made for a few positions at a time,
and only the gradient by the final norm's output is kept.
"""

from typing import Any

import torch
from torch import Tensor

from tersor import _native

_ROWS = 256


def divergence(student: Tensor, teacher: Tensor, head: Tensor, cap: float = 0.0) -> Tensor:
    """``Σ KL(teacher ‖ student)`` over all positions, in nats, with a graph to ``student``.

    ``student``, ``teacher``: ``(…, hidden)``; ``head``: ``(vocab, hidden)``, float32 or bfloat16,
    in whose type logits and their gradient are computed. Softmax and sums are float32. ``cap``
    above 0: logits are ``cap · tanh(product / cap)``.
    """
    rows = student.reshape(-1, student.shape[-1])
    result: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        rows, teacher.reshape(rows.shape), head, cap
    )
    return result


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, head: Tensor, cap: float) -> Tensor:
        gradient = torch.empty(student.shape, dtype=torch.float32)
        totals = torch.empty(len(student), dtype=torch.float64)
        with torch.autocast("cpu", enabled=False):
            for start in range(0, len(student), _ROWS):
                piece = slice(start, start + _ROWS)
                logits = _logits(student[piece], head, cap)
                slope = 1 - (logits / cap).square_() if cap else None
                _divergence(logits, _logits(teacher[piece], head, cap), totals[piece])
                if slope is not None:
                    logits *= slope
                gradient[piece] = (logits @ head).float()
        ctx.gradient, ctx.dtype = gradient, student.dtype
        return totals.sum().float()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        return (ctx.gradient * outer).to(ctx.dtype), None, None, None


def _logits(hidden: Tensor, head: Tensor, cap: float) -> Tensor:
    product = hidden.to(head.dtype) @ head.T
    return product.div_(cap).tanh_().mul_(cap) if cap else product


def _divergence(student: Tensor, teacher: Tensor, totals: Tensor) -> None:
    """Divergence per row; the student's logits become its gradient: ``softmax − softmax``."""
    if student.dtype is torch.bfloat16:
        student, teacher = student.view(torch.uint16), teacher.view(torch.uint16)
    _native.divergence(student.numpy(), teacher.numpy(), totals.numpy())
