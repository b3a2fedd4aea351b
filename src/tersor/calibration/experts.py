"""Inputs of experts that transformers keeps as one tensor ``(experts, rows, in)`` per layer.

Such a tensor belongs to no linear module a hook could be set on. But each expert's product is
``F.linear`` with a slice of it, and where the slice begins tells which expert it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Listener = Callable[[int, Tensor], None]


class ExpertInputs(TorchFunctionMode):
    """While active, tells ``listener(expert, x)`` the input ``x (tokens, in)`` of each product.

    ``fused``: pairs of a tensor ``(experts, rows, in)`` in memory and who listens to it.
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
        if func is F.linear and len(args) > 1:
            x, weight = args[:2]
            found = self._by_storage.get(weight.untyped_storage().data_ptr())
            if found is not None and weight.shape == found[0].shape[1:]:
                tensor, listener = found
                offset = weight.storage_offset() - tensor.storage_offset()
                listener(offset // tensor.stride(0), x)
        return func(*args, **kwargs)
