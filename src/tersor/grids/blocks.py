"""Matrices seen as blocks of values that share a scale: ``(rows, groups, size)``.

A ragged last group cannot be part of such a view, so a matrix is a short list of segments: the
columns that divide evenly and, if there is one, the tail. No padding enters any statistic.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from tersor.grids.scheme import Granularity, TensorScheme

_CHUNK_VALUES = 1 << 18


@dataclass(frozen=True)
class Segment:
    """Columns ``start:stop`` in groups of ``size``, whose scales are columns ``first:last``."""

    start: int
    stop: int
    size: int
    first: int
    last: int

    def blocks(self, matrix: Tensor) -> Tensor:
        """``(rows, columns)`` → ``(rows, groups, size)``; a view."""
        return matrix[:, self.start : self.stop].view(len(matrix), -1, self.size)

    def parameters(self, matrix: Tensor) -> Tensor:
        """Scales or zero points ``(rows, all groups)`` → ``(rows, groups, 1)`` of this segment."""
        return matrix[:, self.first : self.last].unsqueeze(-1)


def segments(scheme: TensorScheme, columns: int) -> Iterator[Segment]:
    """Segments of a matrix with that many columns; at most two.

    Granularity ``tensor`` has a single scale ``(1, 1)``, which broadcasts over the rows; to find
    its range, view the matrix as one row first (:func:`as_rows`).
    """
    size = scheme.group_size or columns
    whole = columns // size
    if whole:
        yield Segment(0, whole * size, size, 0, whole)
    if columns % size:
        yield Segment(whole * size, columns, columns % size, whole, whole + 1)


def as_rows(matrix: Tensor, scheme: TensorScheme) -> Tensor:
    """The matrix such that each row has its own scales: one long row for granularity ``tensor``."""
    return matrix.reshape(1, -1) if scheme.granularity is Granularity.TENSOR else matrix


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of consecutive rows, few enough that temporaries stay in the last-level cache."""
    step = max(1, _CHUNK_VALUES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def with_contiguous_values(blocks: Tensor) -> Tensor:
    """The same blocks ``(rows, groups, size)``; a copy only if values of a block are apart."""
    return blocks if blocks.stride(-1) == 1 else blocks.contiguous()
