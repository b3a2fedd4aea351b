"""Native linears called with torch's tensors: packed weights times activations.

:func:`linear`: activations become int8 codes per token and group; products and sums are exact
integers, scaled in float32 (``native/kernels/packed_weights.hpp``). Weights of
:func:`float_linear` are decoded on the way, and all else is float32 (``float_weights.hpp``). The
level of instructions is :func:`tersor.machine.instructions.level`.
"""

import torch
from torch import Tensor

from tersor import _native
from tersor.errors import SchemeError
from tersor.machine.instructions import level
from tersor.runtime.linears.panels import FixedInput, PackedLinear, product


def linear(x: Tensor, packed: PackedLinear, fixed: FixedInput | None = None) -> Tensor:
    """``x Wᵀ``: ``(…, in)`` of any float type → ``(…, out)`` float32, on torch's threads.

    ``fixed``: how activations become codes, if not by their own range; its zero is not taken away.
    What is not finite in a token makes that token's outputs not finite.

    Raises :class:`SchemeError` for a codebook, which has no integers to multiply.
    """
    if packed.levels is not None:
        raise SchemeError("a codebook has no kernel for int8 activations")
    rows = x.reshape(-1, packed.columns).float().contiguous()
    y = product(rows.numpy(), packed, fixed, torch.get_num_threads())
    return torch.from_numpy(y).reshape(*x.shape[:-1], packed.rows)


def float_linear(x: Tensor, packed: PackedLinear) -> Tensor:
    """The same with activations as they are: nothing is rounded but float32 sums."""
    rows = x.reshape(-1, packed.columns).float().contiguous()
    y = torch.empty(len(rows), packed.rows)
    _native.float_linear(
        level=level(),
        x=rows.numpy(),
        **packed.native(),
        levels=packed.levels,
        y=y.numpy(),
        threads=torch.get_num_threads(),
    )
    return y.reshape(*x.shape[:-1], packed.rows)
