"""Clip where it hurts the output least: AWQ's second search (https://arxiv.org/abs/2306.00978).

The ranges of ``ranges.mse`` weigh the errors of a group one by one. Here correlated inputs count as
well: with the diagonal block ``H_gg`` of ``H = E[x·xᵀ]`` the expected squared error that a group
adds to the output is ``Δw_g·H_gg·Δw_gᵀ``. What groups do to each other is left out.

q and k are better not clipped: their outputs are multiplied with each other before anybody reads
them, and this error says nothing about that.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tersor.errors import RecipeError, SchemeError
from tersor.grids import Granularity, ScaleStorage, TensorScheme
from tersor.grids.blocks import segments
from tersor.ranges import BaseRange, Bound, Bounds, MinMax, Need, Needs, Observation, Stream
from tersor.transforms.round_trip import round_blocks

# Values searched at a time: temporaries stay at 16 MB each.
_CHUNK_VALUES = 1 << 22


@dataclass(frozen=True)
class ClipSearch:
    """Best of ``steps`` factors from 1 down to ``smallest``, for each group on its own.

    Bound to the inputs of a matrix it is an :class:`OutputClip`.
    """

    steps: int = 19
    smallest: float = 0.55

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.smallest <= 1:
            raise RecipeError(
                f"clip: steps {self.steps}, smallest {self.smallest}; "
                "steps must be at least 1, smallest within (0, 1]"
            )

    @property
    def needs(self) -> Needs:
        """``E[x·xᵀ]``."""
        return frozenset({Need.SECOND_MOMENTS})

    def bind(self, observed: Observation | None) -> Bound:
        """The search by what a matrix reads, or min-max if that says nothing."""
        if observed is None or observed.hessian is None:
            return Bound(MinMax())
        if not bool(observed.hessian.isfinite().all()):
            return Bound(MinMax(), note="inputs hold NaN or infinity: nothing is clipped")
        return Bound(OutputClip(self, observed.hessian))

    def of_stream(self, stream: Stream, scheme: TensorScheme, storage: ScaleStorage) -> Bounds:
        """Raises :class:`RecipeError`: no output tells how far an input can be clipped."""
        del stream, scheme, storage
        raise RecipeError("range clip is for weights")


@dataclass(frozen=True, eq=False)
class OutputClip(BaseRange):
    """The search as a :class:`~tersor.ranges.RangeEstimator` for one matrix.

    ``hessian``: fp32 ``(in, in)``, ``E[x·xᵀ]`` of what the matrix reads.
    """

    search: ClipSearch
    hessian: Tensor

    def bounds(
        self,
        blocks: Tensor,
        scheme: TensorScheme,
        storage: ScaleStorage,
        importance: Tensor | None = None,
    ) -> Bounds:
        """See :class:`~tersor.ranges.RangeEstimator`; ``importance`` is ignored.

        Raises :class:`RecipeError` for one range per tensor and :class:`SchemeError` for a Hessian
        of another size than the matrix.
        """
        squares = self._diagonal(blocks, scheme)
        rows, groups, size = blocks.shape
        step = max(1, _CHUNK_VALUES // (groups * size))
        found = [
            self._search(blocks[start : start + step], squares, scheme, storage)
            for start in range(0, rows, step)
        ]
        low, high = (torch.cat(ends) for ends in zip(*found, strict=True))
        return low, high

    def _diagonal(self, blocks: Tensor, scheme: TensorScheme) -> Tensor:
        """The Hessian's diagonal blocks of these groups: ``(groups, size, size)``."""
        if scheme.granularity is Granularity.TENSOR:
            raise RecipeError("clip needs granularity group or channel; use range mse")
        _, groups, size = blocks.shape
        inputs = len(self.hessian)
        for part in segments(scheme, inputs):
            if (part.last - part.first, part.size) == (groups, size):
                columns = slice(part.start, part.stop)
                square = self.hessian[columns, columns].float()
                split = square.reshape(groups, size, groups, size)
                return split.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        raise SchemeError(
            f"a Hessian of shape {tuple(self.hessian.shape)} does not belong to "
            f"{groups} groups of {size} columns"
        )

    def _search(
        self, blocks: Tensor, squares: Tensor, scheme: TensorScheme, storage: ScaleStorage
    ) -> Bounds:
        low, high = MinMax().bounds(blocks, scheme, storage)
        least = torch.full_like(low, torch.inf)
        best = torch.ones_like(low)
        for factor in torch.linspace(1.0, self.search.smallest, self.search.steps).tolist():
            bounds = low * factor, high * factor
            loss = output_error(round_blocks(blocks, scheme, bounds, storage) - blocks, squares)
            better = loss < least
            least = torch.where(better, loss, least)
            best = torch.where(better, factor, best)
        return low * best, high * best


def output_error(error: Tensor, squares: Tensor) -> Tensor:
    """``Δw·H_gg·Δwᵀ`` of every group: errors ``(rows, groups, size)`` → ``(rows, groups)``.

    ``squares``: ``(groups, size, size)``.
    """
    by_group = error.transpose(0, 1)
    return (by_group @ squares).mul_(by_group).sum(dim=-1).T
