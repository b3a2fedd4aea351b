"""Adam (https://arxiv.org/abs/1412.6980), one tensor at a time.

torch's own optimizer wants the gradients of all parameters at once, and steps in units of the
parameters. Here a gradient is used and dropped, tensor by tensor and on several cores, and the
caller chooses the unit.
"""

import torch
from torch import Tensor

_FIRST, _SECOND = 0.9, 0.99
_TINY = 1e-20


class Adam:
    """``moments``: running means of gradients and of their squares, by name."""

    def __init__(self) -> None:
        self.steps = 0
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}

    def begin(self) -> None:
        """Count a step; every tensor then has its turn once."""
        self.steps += 1

    def direction(self, name: str, gradient: Tensor) -> Tensor:
        """What to subtract, times the largest step: fp32, about 1 in size. ``gradient``: fp32."""
        if name not in self.moments:
            self.moments[name] = (torch.zeros_like(gradient), torch.zeros_like(gradient))
        mean, square = self.moments[name]
        mean.lerp_(gradient, 1 - _FIRST)
        square.lerp_(gradient.square(), 1 - _SECOND)
        root = (square / (1 - _SECOND**self.steps)).sqrt_()
        return (mean / (1 - _FIRST**self.steps)).div_(root.add_(_TINY))
