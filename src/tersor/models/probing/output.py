"""What becomes of the head's product on its way to logits, found on a tiny model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from tersor.models.architecture import Architecture
from tersor.models.probing.tiny.blocks import depth_of, text_config
from tersor.models.probing.tiny.miniature import miniature, token_ids
from tersor.models.probing.tiny.precision import Doubled

_EQUAL = 1e-6


@dataclass(frozen=True)
class LogitRule:
    """Logits of the final norm's output ``h (…, hidden)`` and the head ``W (vocab, hidden)``.

    ``scale · h Wᵀ``, and with a ``cap`` above 0 (Gemma 2's soft cap) ``cap · tanh(that / cap)``.
    """

    scale: float = 1.0
    cap: float = 0.0

    def __call__(self, product: Tensor) -> Tensor:
        """The logits of ``h Wᵀ``."""
        scaled = self.scale * product
        return self.cap * torch.tanh(scaled / self.cap) if self.cap else scaled


def logit_rule(
    architecture: Architecture, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> LogitRule | None:
    """The rule of a model, by trying numbers of its ``config.json`` on a tiny one of its kind.

    ``config`` and ``shapes`` as for ``describe``. None where logits are something else (a bias, a
    number that is not in the config), or no tiny model can be built. Takes about a second.
    """
    text = text_config(config)
    try:
        model = miniature(text, depth_of(architecture, text, dict.fromkeys(shapes, 0)))
        plain, logits = _seen(model)
    except Exception:  # foreign models: whatever breaks, the rule is not known
        return None
    largest = logits.abs().max()
    values: Any = model.config
    for rule in _rules(values.to_dict()):
        if bool((rule(plain) - logits).abs().max() <= _EQUAL * largest):
            return rule
    return None


def _seen(model: nn.Module) -> tuple[Tensor, Tensor]:
    """The product of the final norm's output and the head, and the logits, both fp64."""
    inner: Any = model.base_model
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    with torch.no_grad(), Doubled():
        hidden = inner(input_ids=token_ids(), use_cache=False).last_hidden_state
        logits = model(input_ids=token_ids(), use_cache=False).logits
    return hidden @ head.weight.T, logits


def _rules(config: Mapping[str, Any]) -> Iterator[LogitRule]:
    """What the numbers of a config could mean, the simplest first."""
    numbers = {k: float(v) for k, v in config.items() if type(v) in (int, float) and v > 0}
    named = [v for k, v in numbers.items() if "scal" in k or "multipl" in k]
    scales = [1.0, *named, *(1 / v for v in named)]
    caps = [0.0, *(v for k, v in numbers.items() if "cap" in k)]
    return (LogitRule(scale, cap) for cap, scale in product(caps, scales))
