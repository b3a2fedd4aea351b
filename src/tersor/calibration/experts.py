"""Products of experts that transformers keeps as one tensor with three axes per layer.

Such a tensor belongs to no linear module a hook could be set on. But each expert's product is
``F.linear`` or a matrix product with a slice of it, or one batched product with all of it, and
where the slice begins tells which expert it is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Heard = Callable[[Tensor, Any], None]
"""Called with a product's result and the index at which it holds an expert's rows."""
Listener = Callable[[int, Tensor], Heard | None]
_PRODUCTS = (F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)
_BATCHED = (torch.bmm, Tensor.bmm)


class ExpertProducts(TorchFunctionMode):
    """While active, tells ``listener(expert, x)`` the input ``x (tokens, in)`` before each product.

    What the listener returns, if anything, hears the result afterwards. ``fused``: pairs of a
    tensor ``(experts, rows, in)``, or transposed, and who listens to it.
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
        waiting = []
        if len(args) > 1 and (func in _PRODUCTS or func in _BATCHED):
            products = self._one if func in _PRODUCTS else self._all
            for listener, expert, x, index in products(*args[:2]):
                heard = listener(expert, x)
                if heard is not None:
                    waiting.append((heard, index))
        result = func(*args, **(kwargs or {}))
        for heard, index in waiting:
            heard(result, index)
        return result

    def _one(self, x: Tensor, weight: Tensor) -> Iterator[tuple[Listener, int, Tensor, Any]]:
        found = self._by_storage.get(weight.untyped_storage().data_ptr())
        if found is not None and weight.shape == found[0].shape[1:]:
            tensor, listener = found
            offset = weight.storage_offset() - tensor.storage_offset()
            yield listener, offset // tensor.stride(0), x, ...

    def _all(self, x: Tensor, weight: Tensor) -> Iterator[tuple[Listener, int, Tensor, Any]]:
        """One product for all experts: those that got nothing but zeros were not chosen."""
        found = self._by_storage.get(weight.untyped_storage().data_ptr())
        if found is None or weight.shape != found[0].shape:
            return
        for expert, rows in enumerate(x):
            chosen = rows.abs().sum(-1) > 0
            if chosen.any():
                yield found[1], expert, rows[chosen], (expert, chosen)
