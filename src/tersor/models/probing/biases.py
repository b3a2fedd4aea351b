"""Which switches of a config give linears a bias, found by turning each of them on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tersor.families.blocks import canonical
from tersor.models.architecture import Architecture
from tersor.models.probing.tiny.blocks import block_list, depth_of, text_config
from tersor.models.probing.tiny.miniature import NoMiniature, miniature, token_ids, typed_config
from tersor.models.probing.watching import logits_of

_EQUAL = 1e-9


def bias_switches(
    architecture: Architecture, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[str, ...]]:
    """Key of ``config.json`` (of its text part) → canonical names of linears that it gives a bias.

    Only what is off is listed, and only what does nothing else: with biases of 0 a tiny model is
    the same function. Empty where transformers cannot build one.
    """
    text = text_config(config)
    try:
        values = typed_config(text).to_dict()
        keys = [key for key, value in values.items() if "bias" in key and value is False]
        if not keys:
            return {}
        depth = depth_of(architecture, text, dict.fromkeys(shapes, 0))
        plain = miniature(text, depth)
        container, _ = block_list(plain, depth, {architecture.split(name)[1] for name in shapes})
    except Exception:  # foreign data: then there is nothing to correct, which is said elsewhere
        return {}
    found = {key: _given_by(key, text, plain, depth, f"{container}.") for key in keys}
    return {key: names for key, names in found.items() if names}


def _given_by(
    key: str, text: Mapping[str, Any], plain: nn.Module, depth: int, prefix: str
) -> tuple[str, ...]:
    try:
        biased = miniature({**text, key: True}, depth)
    except NoMiniature:
        return ()
    before, after = plain.state_dict(), biased.state_dict()
    new = [name for name in after if name not in before]
    weights = [f"{name.removesuffix('.bias')}.weight" for name in new]
    linear = all(w in before and before[w].ndim == 2 and w.startswith(prefix) for w in weights)
    if not new or not linear or not before.keys() <= after.keys():
        return ()
    biased.load_state_dict({**before, **{name: torch.zeros_like(after[name]) for name in new}})
    expected, got = logits_of(plain, token_ids()), logits_of(biased, token_ids())
    if not bool((got - expected).abs().max() <= _EQUAL * expected.abs().max()):
        return ()
    relatives = (w.removeprefix(prefix).partition(".")[2].removesuffix(".weight") for w in weights)
    return tuple(dict.fromkeys(map(canonical, relatives)))
