"""Products of experts that transformers keeps as one tensor with three axes per layer.

As :mod:`tersor.calibration.experts`, but what comes out is told too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Listener = Callable[[int, Tensor, Tensor], None]
_PRODUCTS = (F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)
_BATCHED = (torch.bmm, Tensor.bmm)


class ExpertProducts(TorchFunctionMode):
    """While active, tells ``listener(expert, x, y)`` each product ``x (tokens, in)`` → ``y``.

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
        result = func(*args, **(kwargs or {}))
        if len(args) > 1 and (func in _PRODUCTS or func in _BATCHED):
            self._tell(args[0], args[1], result)
        return result

    def _tell(self, x: Tensor, weight: Tensor, y: Tensor) -> None:
        found = self._by_storage.get(weight.untyped_storage().data_ptr())
        if found is None:
            return
        tensor, listener = found
        if weight.shape == tensor.shape:
            for expert, (rows, made) in enumerate(zip(x, y, strict=True)):
                listener(expert, rows, made)
        elif weight.shape == tensor.shape[1:]:
            offset = weight.storage_offset() - tensor.storage_offset()
            listener(offset // tensor.stride(0), x, y)


def rows_of(parameter: Tensor, transposed: bool) -> Tensor:
    """For every weight of ``(experts, rows, in)``, or transposed, the number of its row; a view."""
    rows = parameter.shape[2 if transposed else 1]
    numbers = torch.arange(rows)
    shaped = numbers[None, None, :] if transposed else numbers[None, :, None]
    return shaped.expand(parameter.shape)
