"""Models whose attention sees tokens to come: their likelihood of a text says nothing."""

from typing import Any

from torch import Tensor, nn

from tersor.errors import SourceError
from tersor.evaluation.forward import evaluating, model_name, window_logits

_TOKENS = 16
_LIMIT = 1e-2


def refuse_foresight(model: nn.Module, windows: Tensor) -> None:
    """Refuse a model if logits change with a token that comes after them: :class:`SourceError`.

    Tried, on the first tokens of ``windows`` ``(n, T)``, where attention in the decoder says that
    it is not causal; masks may make it so all the same (PaliGemma's do with eager attention alone).
    """
    if not _may_see_ahead(model):
        return
    window = windows[0, :_TOKENS].clone()
    with evaluating(model):
        before = window_logits(model, window, 0)[:-1]
        window[-1] = windows[0, 0] if windows[0, 0] != window[-1] else windows[0, 1]
        after = window_logits(model, window, 0)[:-1]
    if float((before - after).abs().max()) > _LIMIT * float(before.abs().max()):
        raise SourceError(
            f"{model_name(model)}: its attention sees the tokens that it should predict "
            "(a prompt is read in both directions), so it has no perplexity; compare its answers"
        )


def _may_see_ahead(model: Any) -> bool:
    if not hasattr(model, "get_decoder"):
        return False
    return any(getattr(m, "is_causal", True) is False for m in model.get_decoder().modules())
