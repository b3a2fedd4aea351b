"""Inputs of experts that transformers keeps as one tensor with three axes per layer.

Such a tensor belongs to no linear module a hook could be set on. But each expert's product is
``F.linear`` or a matrix product with a slice of it, or one batched product with all of it, and
where the slice begins tells which expert it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Listener = Callable[[int, Tensor], None]
_PRODUCTS = (F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)
_BATCHED = (torch.bmm, Tensor.bmm)


class ExpertInputs(TorchFunctionMode):
    """While active, tells ``listener(expert, x)`` the input ``x (tokens, in)`` of each product.

    ``fused``: pairs of a tensor ``(experts, rows, in)``, or transposed, and who listens to it.
    """

    def __init__(self, fused: Sequence[tuple[Tensor, Listener]]) -> None:
        super().__init__()
        self._by_storage = {
            tensor.untyped_storage().data_ptr(): (tensor, listener) for tensor, listener in fused
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS and len(args) > 1:
            self._see(*args[:2])
        elif func in _BATCHED and len(args) > 1:
            self._see_all(*args[:2])
        return func(*args, **kwargs)

    def _see(self, x: Tensor, weight: Tensor) -> None:
        found = self._by_storage.get(weight.untyped_storage().data_ptr())
        if found is not None and weight.shape == found[0].shape[1:]:
            tensor, listener = found
            offset = weight.storage_offset() - tensor.storage_offset()
            listener(offset // tensor.stride(0), x)

    def _see_all(self, x: Tensor, weight: Tensor) -> None:
        """One product for all experts: those that got nothing but zeros were not chosen."""
        found = self._by_storage.get(weight.untyped_storage().data_ptr())
        if found is None or weight.shape != found[0].shape:
            return
        for expert, rows in enumerate(x):
            chosen = rows[rows.abs().sum(-1) > 0]
            if len(chosen):
                found[1](expert, chosen)
