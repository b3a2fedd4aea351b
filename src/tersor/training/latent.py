"""A quantized linear that can be trained: continuous code positions and scales behind its codes.

The straight-through estimator (Bengio et al., https://arxiv.org/abs/1308.3432) takes rounding for
the identity when it looks at gradients, and learned step sizes (LSQ, Esser et al.,
https://arxiv.org/abs/1902.08153) get theirs from the codes they multiply.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tersor.errors import SchemeError
from tersor.grids import IntegerGrid, QuantizedTensor, StoredScale
from tersor.grids.blocks import segments

_SMALLEST = 0.05


class LatentLinear:
    """Training state of one matrix on an integer grid.

    ``positions``: fp32 ``(out, in)``, whose nearest integers are the codes. ``ratio``: fp32, shaped
    like the scale: what the starting scale is multiplied by. Zero points stay as they are.
    """

    def __init__(self, start: QuantizedTensor) -> None:
        """Raises :class:`SchemeError` for a grid whose codes are no integers."""
        grid = start.scheme.grid
        if not isinstance(grid, IntegerGrid):
            raise SchemeError(f"learned rounding needs integer codes, not {grid.name}")
        self._start, self._grid = start, grid
        self._first = start.scale.value()
        zero = float(grid.offset)
        self._zero = (
            torch.tensor([[zero]]) if start.zero_point is None else start.zero_point.float()
        )
        self.positions = start.codes.float()
        self.ratio = torch.ones_like(self._first)

    def codes(self) -> Tensor:
        """Codes as fp32 ``(out, in)``."""
        return self.positions.round().clamp_(self._grid.code_min, self._grid.code_max)

    def scale(self) -> Tensor:
        """The scale as it would be stored, fp32 ``(out, groups)``."""
        kept = self.ratio.clamp(min=_SMALLEST)
        return (self._first * kept).to(self._start.scale.data.dtype).float()

    def weight_into(self, weight: Tensor) -> None:
        """Write what the codes stand for to ``weight (out, in)``."""
        codes, scale = self.codes(), self.scale()
        for segment in segments(self._start.scheme, weight.shape[1]):
            zero = self._zero if self._zero.numel() == 1 else segment.parameters(self._zero)
            blocks = segment.blocks(codes).sub_(zero).mul_(segment.parameters(scale))
            weight[:, segment.start : segment.stop] = blocks.flatten(1)

    def gradients(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of ``positions`` and ``ratio`` from the weight's, fp32 ``(out, in)``.

        Positions outside the grid get none, except back into it.
        """
        codes, scale = self.codes(), self.scale()
        inside = (self.positions - codes).abs_() <= 0.5
        positions = torch.empty_like(weight)
        ratio = torch.empty(len(weight), self.ratio.shape[1])
        for segment in segments(self._start.scheme, weight.shape[1]):
            zero = self._zero if self._zero.numel() == 1 else segment.parameters(self._zero)
            blocks = segment.blocks(weight)
            columns = slice(segment.first, segment.last)
            ratio[:, columns] = (segment.blocks(codes).sub_(zero).mul_(blocks)).sum(-1)
            scaled = blocks * segment.parameters(scale)
            positions[:, segment.start : segment.stop] = scaled.flatten(1)
        shared = self._first.shape[0] == 1 and len(weight) > 1
        ratio = (ratio.sum(0, keepdim=True) if shared else ratio) * self._first
        return positions.mul_(inside), ratio

    def quantized(self) -> QuantizedTensor:
        """What training has led to."""
        scale = (self._first * self.ratio.clamp(min=_SMALLEST)).to(self._start.scale.data.dtype)
        return replace(
            self._start,
            codes=self.codes().to(self._grid.code_dtype),
            scale=StoredScale(scale, self._start.scale.format),
        )
