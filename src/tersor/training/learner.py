"""Gradients on several cores, the same on any number of them.

Pieces of a batch run in threads of their own through the same modules, which keep no state; their
gradients are added in the pieces' order.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.parallel import in_order

Loss = Callable[[int], Tensor]
"""The loss of a piece, with a graph."""


def sum_of_gradients(
    loss: Loss, pieces: int, weights: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The sum of ``loss(0) … loss(pieces − 1)``, and its gradient by ``weights``, fp32."""

    def one(piece: int) -> tuple[float, list[Tensor]]:
        with torch.enable_grad():
            value = loss(piece)
            gradients = torch.autograd.grad(value, weights)
        return float(value.detach()), [gradient.float() for gradient in gradients]

    total, sums = 0.0, [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for value, gradients in in_order(one, range(pieces)):
        total += value
        for whole, gradient in zip(sums, gradients, strict=True):
            whole.add_(gradient)
    return total, sums


class BlockGradients:
    """Squared error of a block's output, and its gradient by the weights at ``paths``."""

    def __init__(self, call: BlockCall, paths: Sequence[str]) -> None:
        self._call, self._paths = call, list(paths)
        call.block.requires_grad_(False)
        self._weights = [call.block.get_parameter(path) for path in paths]

    def __call__(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> tuple[float, dict[str, Tensor]]:
        """Sum over all pieces ``(r, T, hidden)``, and its gradient by path."""

        def loss(piece: int) -> Tensor:
            output = self._call(inputs[piece]).float()
            return (output - targets[piece]).square().sum()

        for weight in self._weights:
            weight.requires_grad_(True)
        try:
            value, gradients = sum_of_gradients(loss, len(inputs), self._weights)
        finally:
            for weight in self._weights:
                weight.requires_grad_(False)
        return value, dict(zip(self._paths, gradients, strict=True))
