"""What a search tries out: values rounded to a grid and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.grids import Granularity, ScaleStorage, TensorScheme, fit
from tersor.grids.blocks import segments
from tersor.ranges import Bounds, Observation, Range
from tersor.rounding import nearest


@dataclass(frozen=True)
class RoundTrip:
    """A weight to its grid and back, by rounding to nearest.

    ``scale_dtype`` as for :func:`~tersor.rounding.nearest`.
    """

    scheme: TensorScheme
    range: Range
    scale_dtype: torch.dtype

    def __call__(self, weight: Tensor, importance: Tensor | None = None) -> Tensor:
        """fp32 ``(out, in)``; ``importance`` ``(in,)`` as for ``nearest``, whose errors it has."""
        rounded = nearest(
            weight,
            self.scheme,
            self.range.bind(Observation(mean_square=importance)).estimator,
            scale_dtype=self.scale_dtype,
            importance=importance,
        )
        return rounded.tensor.dequantize()


def round_rows(rows: Tensor, scheme: TensorScheme) -> Tensor:
    """Activations ``(tokens, in)`` to their grid and back, fp32.

    Each token, group or tensor has the range of its own values and a float32 scale, as dynamic
    activation quantization has it while a model runs.
    """
    shared = scheme.granularity is Granularity.TENSOR
    matrix = rows.float().reshape(1, -1) if shared else rows.float().contiguous()
    restored = torch.empty_like(matrix)
    for segment in segments(scheme, matrix.shape[1]):
        blocks = segment.blocks(matrix)
        low, high = blocks.aminmax(dim=-1)
        rounded = round_blocks(blocks, scheme, (low, high), ScaleStorage(torch.float32))
        segment.blocks(restored).copy_(rounded)
    return restored.reshape(rows.shape)


def round_blocks(
    blocks: Tensor, scheme: TensorScheme, bounds: Bounds, storage: ScaleStorage
) -> Tensor:
    """fp32 blocks ``(rows, groups, size)`` to the grid that spans ``bounds``, and back."""
    parameters = fit(scheme, *bounds, storage)
    scale = parameters.scale.value().unsqueeze(-1)
    zero_point = None if parameters.zero_point is None else parameters.zero_point.unsqueeze(-1)
    codes = scheme.grid.encode(blocks, scale, zero_point)
    return scheme.grid.decode(codes, scale, zero_point)
