"""What the float type of a model can hold, and what happens to what it cannot."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tersor.checkpoints.source import TensorInfo
from tersor.errors import SchemeError
from tersor.pipeline.planning import ModulePlan


def cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor that is not quantized in the type in which the source has it.

    Transforms change tensors in float32. Raises :class:`SchemeError` naming the tensor where the
    type has no room for what they made of it: infinity, or zeros for most of it.
    """
    stored = tensor.to(dtype)
    if tensor.dtype == dtype or not tensor.is_floating_point():
        return stored
    finite = bool(stored.isfinite().all()) or not bool(tensor.isfinite().all())
    signal = tensor.square().sum(dtype=torch.float64)
    lost = (tensor - stored).square().sum(dtype=torch.float64) if finite else signal
    if not finite or 2 * lost > signal:
        raise SchemeError(
            f"{name}: values of up to {float(tensor.abs().max()):.3g} do not fit {dtype}; convert "
            "the model to bfloat16 or float32 first"
        )
    return stored


def widened_scales(module: ModulePlan, outputs: Mapping[str, Tensor]) -> list[TensorInfo]:
    """Scales of a module that are float32 and were planned as float16, as they are now."""
    return [
        TensorInfo(info.name, torch.float32, info.shape)
        for info in module.float16_scales()
        if outputs[info.name].dtype is torch.float32
    ]
