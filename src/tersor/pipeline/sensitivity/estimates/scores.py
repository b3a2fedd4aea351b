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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Window:
    """What one linear read of window ``number``, and what came back.

    ``x``: fp32 ``(tokens, in)``. ``g``: the gradient by its output, fp32 ``(tokens, out)``.
    """

    number: int
    x: Tensor
    g: Tensor


Windows = Sequence[Window]


@dataclass(frozen=True)
class Score:
    """``of``: windows and ``ΔW (out, in)`` → the estimate. ``labels``: gradients are those of the
    text's own next tokens, as published, instead of drawn ones. ``source``: who proposed it."""

    of: Callable[[Windows, Tensor], float]
    source: str
    labels: bool = False


def windows_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_n (g_n · ΔW)²`` over windows: the second order itself, no part of it left out."""
    return 0.5 * sum(float(_moved(w, change).sum(dtype=torch.float64)) ** 2 for w in windows)


def tokens_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_s (g_y[s] · ΔW x[s])²``: the changes that two tokens read go their own ways."""
    return 0.5 * sum(float(_moved(w, change).square().sum(dtype=torch.float64)) for w in windows)


def tokens_around_mean(windows: Windows, change: Tensor) -> float:
    """The same around what all tokens have in common, which counts window by window.

    With ``m`` the mean of ``ΔW x``: ``½ Σ_n (Σ_s g_y[s] · m)² + ½ Σ_s (g_y[s] · (ΔW x[s] − m))²``.
    A shift of all values moves every output of attention alike, and one of all keys moves none.
    """
    total = sum(len(w.x) for w in windows)
    if not total:
        return 0.0
    mean = change @ (sum(w.x.sum(0) for w in windows) / total)
    found = 0.0
    for w in windows:
        own = ((w.x @ change.T - mean) * w.g).sum(-1)
        common = float((w.g.sum(0) * mean).sum(dtype=torch.float64))
        found += common**2 + float(own.square().sum(dtype=torch.float64))
    return 0.5 * found


def outputs_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_s Σ_o (g_y[s, o] · (ΔW x[s])[o])²``: so do the outputs of one token."""
    return 0.5 * sum(
        float(((w.x @ change.T) * w.g).square().sum(dtype=torch.float64)) for w in windows
    )


def weights_independent(windows: Windows, change: Tensor) -> float:
    """``½ Σ_i F_ii Δw_i²`` with ``F_ii`` the mean of squared gradients of windows."""
    return 0.5 * sum(
        float(((w.g.T @ w.x) * change).square().sum(dtype=torch.float64)) for w in windows
    )


def first_order(windows: Windows, change: Tensor) -> float:
    """``Σ_n |g_n · ΔW|``: how far the loss of each window moves at once."""
    return sum(abs(float(_moved(w, change).sum(dtype=torch.float64))) for w in windows)


def first_order_weights(windows: Windows, change: Tensor) -> float:
    """``Σ_i |g_i Δw_i|`` with the gradient of all windows."""
    gradient = sum((w.g.T @ w.x for w in windows), torch.zeros_like(change))
    return float((gradient * change).abs().sum(dtype=torch.float64))


def _moved(window: Window, change: Tensor) -> Tensor:
    """``g_y[s] · ΔW x[s]`` of every token, ``(tokens,)``."""
    return ((window.x @ change.T) * window.g).sum(-1)


SCORES: Mapping[str, Score] = {
    "windows": Score(windows_independent, "Fisher information, whole (HAWQ's second order)"),
    "tokens": Score(tokens_independent, "Fisher information, tokens independent"),
    "mean": Score(tokens_around_mean, "Fisher information, tokens independent around their mean"),
    "outputs": Score(outputs_independent, "Fisher information, outputs independent (GuidedQuant)"),
    "weights": Score(
        weights_independent, "SqueezeLLM, https://arxiv.org/abs/2306.07629: diagonal", labels=True
    ),
    "first-order": Score(first_order, "Taylor expansion, first order, by window", labels=True),
    "first-order-weights": Score(
        first_order_weights, "Taylor expansion, first order, by weight", labels=True
    ),
}
DEFAULT = "mean"
