"""Estimates of the divergence that a changed matrix causes, from gradients.

``KL(p ‖ q)`` of a model whose matrix moves by ``ΔW`` is, to second order, ``½ ΔWᵀ F ΔW`` per
position, with ``F`` the Fisher information: ``E[g gᵀ]`` of the gradients of ``log p(y)`` where
``y`` is drawn from the model's own prediction. Targets of different positions are drawn
independently, so the squared gradient of their sum is unbiased for the sum of squares. In a linear
``y = W x`` the product ``g · ΔW`` is ``Σ_s g_y[s] · (ΔW x[s])`` over the tokens ``s`` that it
reads; what follows from that differs in which of its parts are taken to be independent.

Every score is a divergence in nats, summed over all positions of the windows, but for those of
first order, which only rank.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Window:
    """What one linear read of window ``number``, and what came back.

    ``x``: ``(tokens, in)``. ``g``: the gradient by its output, ``(tokens, out)``. Both in the type
    in which products are computed.
    """

    number: int
    x: Tensor
    g: Tensor


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows one after the other: ``x (tokens, in)``, ``g (tokens, out)``; ``lengths`` of each."""

    x: Tensor
    g: Tensor
    lengths: list[int]

    @staticmethod
    def of(windows: Sequence[Window]) -> "Windows":
        """At least one window."""
        x, g = (_joined([getattr(w, side) for w in windows]) for side in ("x", "g"))
        return Windows(x, g, [len(w.x) for w in windows])

    @cached_property
    def squared(self) -> Tensor:
        """The squared gradient of each weight, summed over windows, fp32 ``(out, in)``."""
        pairs = (torch.split(side, self.lengths) for side in (self.x, self.g))
        found = torch.zeros(self.g.shape[1], self.x.shape[1])
        for x, g in zip(*pairs, strict=True):
            gradient = (g.T @ x).float()
            found.addcmul_(gradient, gradient)
        return found

    def each(self) -> Iterator[tuple[Tensor, Tensor]]:
        """``x`` and ``g`` of every window, fp32."""
        pairs = (torch.split(side, self.lengths) for side in (self.x, self.g))
        for x, g in zip(*pairs, strict=True):
            yield x.float(), g.float()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    # torch.cat copies bfloat16 value by value: twenty times as long.
    whole = parts[0].new_empty(sum(map(len, parts)), parts[0].shape[1])
    for target, part in zip(torch.split(whole, [len(p) for p in parts]), parts, strict=True):
        target.copy_(part)
    return whole


@dataclass(frozen=True)
class Score:
    """``of``: windows and ``ΔW (out, in)`` → the estimate. ``labels``: gradients are those of the
    text's own next tokens, as published, instead of drawn ones. ``source``: who proposed it."""

    of: Callable[[Windows, Tensor], float]
    source: str
    labels: bool = False


def windows_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_n (g_n · ΔW)²`` over windows: the second order itself, no part of it left out."""
    return 0.5 * sum(float(m.sum(dtype=torch.float64)) ** 2 for m in _moved(windows, change))


def tokens_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_s (g_y[s] · ΔW x[s])²``: the changes that two tokens read go their own ways."""
    return 0.5 * sum(float(m.square().sum(dtype=torch.float64)) for m in _moved(windows, change))


def tokens_around_mean(windows: Windows, change: Tensor) -> float:
    """The same around what all tokens have in common, which counts window by window.

    With ``m`` the mean of ``ΔW x``: ``½ Σ_n (Σ_s g_y[s] · m)² + ½ Σ_s (g_y[s] · (ΔW x[s] − m))²``.
    A shift of all values moves every output of attention alike, and one of all keys moves none.
    """
    g, moved = windows.g, windows.x @ change.to(windows.x.dtype).T
    common = (g @ moved.mean(0)).float()
    own = torch.mul(moved, g, out=moved).sum(-1, dtype=torch.float32) - common
    shared = [part.sum(dtype=torch.float64) for part in torch.split(common, windows.lengths)]
    squares = own.square().sum(dtype=torch.float64)
    return 0.5 * float(squares + sum(one.square() for one in shared))


def outputs_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_s Σ_o (g_y[s, o] · (ΔW x[s])[o])²``: so do the outputs of one token."""
    return 0.5 * sum(
        float(((x @ change.T) * g).square().sum(dtype=torch.float64)) for x, g in windows.each()
    )


def weights_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_i F_ii Δw_i²``, with ``F_ii`` the squares of windows' gradients: errors of weights are.

    Rounding to nearest makes them so; a method that lets later weights make up for earlier ones
    does not.
    """
    return 0.5 * float((windows.squared * change.square()).sum(dtype=torch.float64))


def first_order(windows: Windows, change: Tensor) -> float:
    """``Σ_n |g_n · ΔW|``: how far the loss of each window moves at once."""
    return sum(abs(float(m.sum(dtype=torch.float64))) for m in _moved(windows, change))


def first_order_weights(windows: Windows, change: Tensor) -> float:
    """``Σ_i |g_i Δw_i|`` with the gradient of all windows."""
    gradient = windows.g.float().T @ windows.x.float()
    return float((gradient * change).abs().sum(dtype=torch.float64))


def _moved(windows: Windows, change: Tensor) -> Iterator[Tensor]:
    """``g_y[s] · ΔW x[s]`` of every token, ``(tokens,)`` window by window."""
    for x, g in windows.each():
        yield ((x @ change.T) * g).sum(-1)


SCORES: Mapping[str, Score] = {
    "windows": Score(windows_independent, "Fisher information, whole (HAWQ's second order)"),
    "tokens": Score(tokens_independent, "Fisher information, tokens independent"),
    "mean": Score(tokens_around_mean, "Fisher information, tokens independent around their mean"),
    "outputs": Score(outputs_independent, "Fisher information, outputs independent (GuidedQuant)"),
    "weights": Score(weights_independent, "Fisher information, weights independent"),
    "weights-labels": Score(
        weights_independent, "SqueezeLLM, https://arxiv.org/abs/2306.07629", labels=True
    ),
    "first-order": Score(first_order, "Taylor expansion, first order, by window", labels=True),
    "first-order-weights": Score(
        first_order_weights, "Taylor expansion, first order, by weight", labels=True
    ),
}
NEAREST, COMPENSATED = "weights", "mean"
"""What is taken where errors of weights are independent, and where they make up for others."""
