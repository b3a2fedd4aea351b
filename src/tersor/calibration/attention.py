"""Attention of a calibration run: native where it is plain and causal, torch's elsewhere.

torch's flash attention took a fifth of a GPTQ run, and half as long again as the native one on
windows of 512 tokens (``docs/log.md``).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tersor import _native
from tersor.machine.instructions import level

_NAME = "tersor"


def use_native_attention(model: nn.Module) -> None:
    """Have the blocks of a transformers model attend natively, if they would use torch's sdpa."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    config: Any = model.config
    if config._attn_implementation != "sdpa":
        return
    ALL_ATTENTION_FUNCTIONS.register(_NAME, attention)
    # sdpa's mask is none where a text is plainly causal.
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(_NAME)  # type: ignore[operator]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """As transformers calls it: ``query`` ``(n, heads, T, size)`` → ``(n, T, heads, size)``.

    Native, in float32, for plain causal attention without gradients; otherwise transformers' own.
    Under autocast the result is of its type, as torch's attention is.
    """
    if not _is_plain(module, query, key, value, attention_mask, kwargs):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    scaling = kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    count, heads, length, size = query.shape
    out = torch.empty(count, length, heads, size)
    for i in range(count):
        _native.causal_attention(
            level(),
            query[i].float().contiguous().numpy(),
            key[i].float().contiguous().numpy(),
            value[i].float().contiguous().numpy(),
            out[i].numpy(),
            scale,
        )
    return out.to(_product_type(out.dtype)), None


def _product_type(otherwise: torch.dtype) -> torch.dtype:
    """What linears multiply."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else otherwise


def _is_plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    kwargs: dict[str, Any],
) -> bool:
    causal = kwargs.get("is_causal")
    if causal is None:
        causal = getattr(module, "is_causal", True)
    unusual = ("position_bias", "softcap")
    return (
        mask is None
        and bool(causal)
        and query.device.type == "cpu"
        and query.shape[2] == key.shape[2]
        and key.shape[-1] == value.shape[-1]
        and not kwargs.get("dropout")
        and not any(kwargs.get(name) is not None for name in unusual)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value)))
    )
