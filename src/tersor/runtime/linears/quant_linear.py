"""Linears of a transformers model on tersor's native kernels."""

import torch
from torch import Tensor, nn

from tersor.runtime.linears.kernels import float_linear, linear
from tersor.runtime.linears.panels import PackedLinear, with_zero


class _NativeLinear(nn.Module):
    """``x Wᵀ + b`` of packed weights.

    Takes ``(…, in)`` of any float type and returns ``(…, out)`` of the same. ``weight`` cannot be
    trained.
    """

    def __init__(self, packed: PackedLinear, bias: Tensor | None) -> None:
        """``bias``: ``(out,)``."""
        super().__init__()
        self.packed = packed
        self.in_features, self.out_features = packed.columns, packed.rows
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    @property
    def weight(self) -> Tensor:
        """The weight ``(out, in)``, float32, decoded anew: some models look at it."""
        return float_linear(torch.eye(self.in_features), self.packed).T

    def product(self, x: Tensor) -> Tensor:
        """``x Wᵀ``, float32."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Inference only: no gradient passes."""
        y = self.product(x.detach())
        bias = self.bias
        if isinstance(bias, Tensor):
            y += bias
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """What a printed model shows."""
        bits, group = self.packed.bits, self.packed.group
        return f"{self.in_features}, {self.out_features}, bits={bits}, group={group}"


class QuantLinear(_NativeLinear):
    """``x Wᵀ + b`` with integer weights and activations rounded to int8 on the way."""

    def __init__(self, packed: PackedLinear, bias: Tensor | None) -> None:
        """``bias``: ``(out,)``."""
        given = None if bias is None else bias.detach().float().numpy()
        whole = with_zero(packed, packed.fixed, given, torch.get_num_threads())
        super().__init__(packed, None if whole is None else torch.from_numpy(whole))

    def product(self, x: Tensor) -> Tensor:
        """``x Wᵀ``, float32."""
        return linear(x, self.packed, self.packed.fixed)


class WeightOnlyLinear(_NativeLinear):
    """``x Wᵀ + b`` with weights, integers or of a codebook, decoded on the way."""

    def product(self, x: Tensor) -> Tensor:
        """``x Wᵀ``, float32."""
        return float_linear(x, self.packed)
