"""Hessians as calibration sees them, for the tests of what uses them."""

import torch
from torch import Tensor


def correlated(columns: int, seed: int = 0, tokens: int = 4) -> Tensor:
    """``E[x xᵀ]`` of correlated inputs of very different size, of ``tokens`` tokens per input."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.eye(columns) + torch.randn(columns, columns, generator=generator) / columns**0.5
    inputs = torch.randn(max(1, tokens * columns), columns, generator=generator) @ mixing
    inputs *= torch.rand(columns, generator=generator) * 3 + 0.1
    return inputs.T @ inputs / len(inputs)


def output_error(difference: Tensor, hessian: Tensor) -> float:
    """``tr(ΔW H ΔWᵀ)``, float64."""
    difference = difference.double()
    return float(((difference @ hessian.double()) * difference).sum())
