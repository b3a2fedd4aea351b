"""The buffers of a model that no checkpoint stores, such as rotary frequencies."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tersor.checkpoints.source import Source
from tersor.errors import SourceError


def fill_computed_buffers(module: nn.Module, source: Source) -> None:
    """Compute the buffers that no checkpoint stores, such as rotary frequencies.

    transformers does it where it initialises weights. A buffer that keeps what was there before
    has been forgotten by it; filling twice finds such a one.
    """
    first = _initialised(module, 0)
    second = _initialised(module, 1)
    for name, value in second.items():
        if not torch.equal(value, first[name]):
            raise SourceError(
                f"{source.path}: transformers leaves the buffer {name} of "
                f"{type(module).__name__} undefined; activations cannot be calibrated"
            )


def _initialised(module: nn.Module, before: int) -> Mapping[str, Tensor]:
    buffers: dict[str, Tensor] = {}
    initialise: Callable[[nn.Module], None] = module._init_weights  # type: ignore[assignment]
    for path, owner in module.named_modules():
        names = [n for n in owner._non_persistent_buffers_set if owner._buffers[n] is not None]
        for name in names:
            old = getattr(owner, name)
            setattr(owner, name, torch.full_like(old, before, device="cpu"))
            buffers[f"{path}.{name}".lstrip(".")] = torch.empty(0)
    # Every module, the inner ones first, because an outer one may fill what an inner one holds.
    for _, owner in reversed(list(module.named_modules())):
        initialise(owner)
    return {name: module.get_buffer(name).clone() for name in buffers}
