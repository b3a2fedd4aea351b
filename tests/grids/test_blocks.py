"""Segments, rows and chunks cover a matrix exactly once."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.grids import Granularity, IntegerGrid, TensorScheme
from tersor.grids.blocks import as_rows, row_chunks, segments

sizes = st.integers(1, 40)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.integers(2, 50))
def test_segments_cover_every_column_with_its_group(rows: int, columns: int, size: int) -> None:
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, size)
    matrix = torch.arange(columns).repeat(rows, 1)
    groups = torch.arange(scheme.groups(columns)).repeat(rows, 1)
    seen = []
    parts = list(segments(scheme, columns))
    assert len(parts) <= 2
    for segment in parts:
        blocks, parameters = segment.blocks(matrix), segment.parameters(groups)
        assert blocks.shape[:2] == parameters.shape[:2]
        assert (blocks // size == parameters).all()
        seen += blocks[0].flatten().tolist()
    assert seen == list(range(columns))


def test_blocks_are_views() -> None:
    matrix = torch.zeros(2, 10)
    for segment in segments(TensorScheme(IntegerGrid(4), Granularity.GROUP, 4), 10):
        segment.blocks(matrix).fill_(1)
    assert (matrix == 1).all()


@settings(max_examples=50, deadline=None)
@given(sizes, sizes)
def test_without_groups_there_is_one_block_a_row(rows: int, columns: int) -> None:
    (segment,) = segments(TensorScheme(IntegerGrid(4), Granularity.CHANNEL), columns)
    assert segment.blocks(torch.zeros(rows, columns)).shape == (rows, 1, columns)


def test_per_tensor_all_values_are_one_row() -> None:
    matrix = torch.arange(6).reshape(2, 3)
    assert as_rows(matrix, TensorScheme(IntegerGrid(4), Granularity.TENSOR)).shape == (1, 6)
    assert as_rows(matrix, TensorScheme(IntegerGrid(4), Granularity.CHANNEL)) is matrix


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.sampled_from([1, 1000, 1 << 17, 1 << 20]))
def test_chunks_cover_every_row_once(rows: int, columns: int) -> None:
    seen = [row for chunk in row_chunks(rows, columns) for row in range(chunk.start, chunk.stop)]
    assert seen == list(range(rows))
