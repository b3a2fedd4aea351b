"""Models compute norms and routers in float32 whatever their weights are; here in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Doubled(TorchFunctionMode):
    """Inside this mode float32 is float64, so that equal functions are equal to 1e-12."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call ``func`` with float64 wherever it says float32."""
        if func is torch.Tensor.float:
            return args[0].double()
        kwargs = {key: _wide(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wide, args), **kwargs)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
