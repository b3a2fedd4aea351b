"""How the error travels through the blocks of a quantized model."""

from typing import Any

import torch
from torch import Tensor, nn

from tersor.evaluation.forward import check_fit, evaluating

States = tuple[Tensor, ...]
"""Behind each block, the last one behind the final norm: fp32 ``(tokens, hidden)``."""


def hidden_states(model: nn.Module, window: Tensor) -> States | None:
    """What ``model`` makes of a window, int64 ``(T,)``, behind every block.

    ``None`` for a model of which transformers does not hand them out. Raises
    :class:`~tersor.errors.TextError` for a window that it cannot read.
    """
    check_fit(model, window[None])
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with evaluating(model):
        found: Any = model(
            input_ids=window[None].to(device), use_cache=False, output_hidden_states=True
        )
    states = getattr(found, "hidden_states", None)
    if not states or any(not isinstance(one, Tensor) or one.ndim != 3 for one in states):
        return None
    return tuple(one[0].float().cpu() for one in states[1:])


def relative_errors(original: States, states: States) -> tuple[float, ...]:
    """``E‖h′ − h‖² / E‖h‖²`` behind every block; 0 where the original is 0 all over."""
    pairs = zip(original, states, strict=True)
    found = []
    for before, after in pairs:
        signal = float(before.double().square().sum())
        error = float((after.double() - before.double()).square().sum())
        found.append(error / signal if signal else 0.0)
    return tuple(found)
