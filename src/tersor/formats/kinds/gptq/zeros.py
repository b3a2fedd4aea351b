"""Zero points of GPTQ checkpoints: which version stored them, told by the zeros themselves."""

import torch
from torch import Tensor

from tersor.errors import FormatError
from tersor.formats.kinds.gptq.settings import V1, V2

# So many zero points have a mean that tells.
_ENOUGH = 256
_CLEARLY = 0.25


def true_zeros(stored: Tensor, bits: int, label: str, module: str) -> Tensor:
    """Zero points z, uint8, of what is ``stored``.

    Of a symmetric checkpoint every z is ``2^(bits − 1)``, so what is stored says how, whatever the
    ``label`` says. Others are spread evenly around ``2^(bits − 1) − ½``, and what contradicts the
    label is refused.

    Raises :class:`FormatError`.
    """
    middle, top = 1 << (bits - 1), (1 << bits) - 1
    first = int(stored.flatten()[0])
    if first in (middle - 1, middle) and bool((stored == first).all()):
        return torch.full_like(stored, middle)
    _refuse_contradiction(stored, middle, label, module)
    if label == V2:
        return stored
    if int(stored.max()) == top:
        raise FormatError(
            f"{module}.qzeros holds zero points of {top}, which {V1} has no room for; if the "
            f"checkpoint is {V2}, say so in quantization_config (checkpoint_format)"
        )
    return stored + 1


def _refuse_contradiction(stored: Tensor, middle: int, label: str, module: str) -> None:
    if stored.numel() < _ENOUGH:
        return
    expected = {V1: middle - 1.5, V2: middle - 0.5}
    mean, other = float(stored.float().mean()), V2 if label == V1 else V1
    if abs(mean - expected[other]) + _CLEARLY < abs(mean - expected[label]):
        raise FormatError(
            f"{module}.qzeros: zero points of {mean:.2f} on average are those of {other}, and "
            f"quantization_config says {label}; put checkpoint_format right"
        )
