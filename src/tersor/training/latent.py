"""What can be trained: scales and continuous code positions behind a linear's codes, and norms.

The straight-through estimator (Bengio et al., https://arxiv.org/abs/1308.3432) takes rounding for
the identity when it looks at gradients, and learned step sizes (LSQ, Esser et al.,
https://arxiv.org/abs/1902.08153) get theirs from the codes they multiply.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from tersor.errors import SchemeError
from tersor.grids import QuantizedTensor, ScaleFormat, StoredScale
from tersor.grids.blocks import segments
from tersor.grids.scales import store_float, store_float16

_SMALLEST = 0.05


class LatentScales:
    """Training state of one matrix on an integer grid whose codes stay as they are.

    ``ratio``: fp32, shaped like the scale: what the starting scale is multiplied by. Zero points
    stay as they are.
    """

    def __init__(self, start: QuantizedTensor) -> None:
        """Raises :class:`SchemeError` for a grid whose codes are no integers."""
        grid = start.scheme.grid
        if grid.integers is None:
            raise SchemeError(f"learned rounding needs integer codes, not {grid.name}")
        self._start, self._integers = start, grid.integers
        self._first = start.scale.value()
        zero = float(self._integers.zero)
        self._zero = (
            torch.tensor([[zero]]) if start.zero_point is None else start.zero_point.float()
        )
        self.ratio = torch.ones_like(self._first)

    def trained(self) -> dict[str, Tensor]:
        """What changes, by name."""
        return {"ratio": self.ratio}

    def kept_gradient(self, weight: Tensor) -> Tensor:
        """What has to be kept of a piece's gradient of the weight ``(out, in)``; sums of it add."""
        return self.ratio_gradient(weight)

    def gradients(self, kept: Tensor) -> dict[str, Tensor]:
        """Gradient of everything in :meth:`trained`, from what was kept."""
        return {"ratio": kept}

    def codes(self) -> Tensor:
        """Codes as fp32 ``(out, in)``."""
        return self._start.codes.float()

    def scale(self) -> Tensor:
        """The scale as it would be stored, fp32 ``(out, groups)``."""
        return self._stored().value()

    def _stored(self) -> StoredScale:
        kept = self.ratio.clamp(min=_SMALLEST)
        scale, start = self._first * kept, self._start.scale
        if start.format is ScaleFormat.FLOAT16:
            return store_float16(scale)
        return store_float(scale, start.data.dtype)

    def weight_into(self, weight: Tensor) -> None:
        """Write what the codes stand for to ``weight (out, in)`` of any float type."""
        codes, scale = self.codes(), self.scale()
        for segment in segments(self._start.scheme, weight.shape[1]):
            zero = self._zero if self._zero.numel() == 1 else segment.parameters(self._zero)
            blocks = segment.blocks(codes).sub_(zero).mul_(segment.parameters(scale))
            weight[:, segment.start : segment.stop] = blocks.flatten(1)

    def ratio_gradient(self, weight: Tensor) -> Tensor:
        """Gradient of ``ratio``, fp32, from the weight's ``(out, in)`` of any float type."""
        codes = self.codes()
        gradient = torch.empty(len(weight), self.ratio.shape[1])
        for segment in segments(self._start.scheme, weight.shape[1]):
            zero = self._zero if self._zero.numel() == 1 else segment.parameters(self._zero)
            levels = segment.blocks(codes).sub_(zero)
            columns = slice(segment.first, segment.last)
            gradient[:, columns] = levels.mul_(segment.blocks(weight)).sum(-1)
        shared = self._first.shape[0] == 1 and len(weight) > 1
        return (gradient.sum(0, keepdim=True) if shared else gradient) * self._first

    def quantized(self) -> QuantizedTensor:
        """What training has led to."""
        return replace(
            self._start, codes=self.codes().to(self._start.codes.dtype), scale=self._stored()
        )


class LatentLinear(LatentScales):
    """The same with codes that can be trained.

    ``positions``: fp32 ``(out, in)``, whose nearest integers are the codes.
    """

    def __init__(self, start: QuantizedTensor) -> None:
        super().__init__(start)
        self.positions = start.codes.float()

    def trained(self) -> dict[str, Tensor]:
        """What changes, by name."""
        return {"positions": self.positions, **super().trained()}

    def kept_gradient(self, weight: Tensor) -> Tensor:
        """All of it."""
        return weight

    def gradients(self, kept: Tensor) -> dict[str, Tensor]:
        """Gradient of positions and ratio."""
        return {"positions": self.position_gradient(kept), "ratio": self.ratio_gradient(kept)}

    def codes(self) -> Tensor:
        """Codes as fp32 ``(out, in)``."""
        return self.positions.round().clamp_(self._integers.lowest, self._integers.highest)

    def position_gradient(self, weight: Tensor) -> Tensor:
        """Gradient of ``positions``, fp32, from the weight's ``(out, in)`` of any float type.

        Positions outside the grid get none, except back into it.
        """
        scale = self.scale()
        gradient = torch.empty_like(self.positions)
        for segment in segments(self._start.scheme, weight.shape[1]):
            blocks = segment.blocks(weight) * segment.parameters(scale)
            gradient[:, segment.start : segment.stop] = blocks.flatten(1)
        inside = (self.positions - self.codes()).abs_() <= 0.5
        return gradient.mul_(inside)


class LatentNorm:
    """Training state of a norm's weight, which is not quantized but stored in few digits.

    ``master``: fp32. ``parameter``: fp32, the master as it would be stored in ``dtype``.
    """

    def __init__(self, parameter: nn.Parameter, dtype: torch.dtype) -> None:
        self.parameter, self._dtype = parameter, dtype
        self.master = parameter.detach().clone()
        # Measured in themselves, but not in next to nothing.
        size = self.master.abs()
        self._unit = size.clamp(min=0.01 * float(size.mean()))

    def move(self, direction: Tensor, rate: float) -> None:
        """Go ``-rate`` times the direction, in shares of what each weight was."""
        self.master.sub_(direction * self._unit, alpha=rate)
        self.store()

    def store(self) -> None:
        """Make the parameter what would be stored."""
        self.parameter.data.copy_(self.master.to(self._dtype))
