"""Gradients on several cores, the same on any number of them.

Pieces of a batch run in threads of their own through the same modules, which keep no state; their
gradients are added in the pieces' order.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from tersor.calibration.blocks import BlockCall
from tersor.machine.parallel import in_order

Loss = Callable[[int], Tensor]
"""The loss of a piece, with a graph."""

Kept = Callable[[Sequence[Tensor]], Mapping[str, Tensor]]
"""What is kept of a piece's gradients, by name: linear in them."""


def sum_of_gradients(
    loss: Loss, pieces: int, weights: Sequence[Tensor], kept: Kept
) -> tuple[float, dict[str, Tensor]]:
    """The sum of ``loss(0) … loss(pieces − 1)``, and what is kept of its gradient, fp32."""

    def one(piece: int) -> tuple[float, Mapping[str, Tensor]]:
        with torch.enable_grad():
            value = loss(piece)
            gradients = torch.autograd.grad(value, weights)
        return float(value.detach()), kept(gradients)

    total, sums = 0.0, dict[str, Tensor]()
    for value, found in in_order(one, range(pieces)):
        total += value
        for name, gradient in found.items():
            if name in sums:
                sums[name].add_(gradient)
            else:
                sums[name] = gradient.to(torch.float32, copy=True)
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
            return sum_of_gradients(loss, len(inputs), self._weights, self._by_path)
        finally:
            for weight in self._weights:
                weight.requires_grad_(False)

    def _by_path(self, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self._paths, gradients, strict=True))
