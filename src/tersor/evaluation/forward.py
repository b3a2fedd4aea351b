"""Logits of one window of text."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tersor.calibration.text import check_windows
from tersor.errors import SourceError, TextError
from tersor.models.in_transformers.metamodel import longest_context


def scored_positions(windows: Tensor, skip: int) -> int:
    """Positions scored per window of ``windows (n, T)``: position t predicts t + 1, from ``skip``.

    Raises :class:`TextError` when nothing would be scored.
    """
    if windows.ndim != 2:
        raise TextError(f"windows are (windows, tokens); got shape {tuple(windows.shape)}")
    count, length = windows.shape
    scored = length - 1 - skip
    if count == 0 or skip < 0 or scored < 1:
        raise TextError(
            f"{count} windows of {length} tokens with skip {skip} leave nothing to score; "
            "use longer text or a smaller skip"
        )
    return scored


def model_name(model: nn.Module) -> str:
    """Where the model came from, or its class: what an error message calls it."""
    path = getattr(getattr(model, "config", None), "name_or_path", "")
    return str(path) if path else type(model).__name__


def check_fit(model: nn.Module, windows: Tensor) -> None:
    """Refuse windows that the model's config says it cannot read: :class:`TextError`."""
    config: Any = getattr(model, "config", None)
    if config is not None and hasattr(config, "get_text_config"):
        config = config.get_text_config()
    check_windows(
        windows,
        model_name(model),
        vocabulary=getattr(config, "vocab_size", None),
        positions=longest_context(config),
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inference without gradients and without dropout; the model's mode is restored after."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def window_logits(model: nn.Module, window: Tensor, skip: int) -> Tensor:
    """Logits of a window's scored positions: int64 ``(T,)`` → fp32 ``(T − 1 − skip, vocab)``.

    Raises :class:`SourceError` naming the model when a logit is NaN or infinite.
    """
    wanted = len(window) - skip
    extra: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        # Saves the head's work, and its memory, on positions that are context only.
        extra["logits_to_keep"] = wanted
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    logits: Tensor = model(input_ids=window[None].to(device), **extra).logits[0]
    logits = logits[-wanted:-1].float().cpu()
    if not bool(logits.isfinite().all()):
        raise SourceError(
            f"{model_name(model)}: logits hold NaN or infinity; a weight or an activation overflows"
        )
    return logits
