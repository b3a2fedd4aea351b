"""What sensitivities are measured on, and how many of them exactly."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """``tokens`` in windows of ``window`` are predicted; as many more as ``fit`` says are read by
    methods that look at activations, at most as many as the recipe calibrates on.

    ``score``: the estimate, by name; that which fits the recipe's rounding if none is named.
    ``exact``: how many parts are quantized one after the other, drawn by ``seed``; ``None``: all.
    """

    tokens: int = 4096
    window: int = 128
    fit: int = 8192
    score: str | None = None
    exact: int | None = 0
    seed: int = 0
