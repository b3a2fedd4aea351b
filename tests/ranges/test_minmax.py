"""Min-max: the range is what was seen."""

import torch

from every_scheme import gaussian
from tersor.grids import Granularity, IntegerGrid, ScaleStorage, TensorScheme
from tersor.ranges import MinMax

SCHEME = TensorScheme(IntegerGrid(8), Granularity.GROUP, 16)


def test_smallest_and_largest_of_every_block() -> None:
    blocks = gaussian(3, 64).view(3, 4, 16)
    low, high = MinMax().bounds(blocks, SCHEME, ScaleStorage(torch.float32))
    for row in range(3):
        for group in range(4):
            values = blocks[row, group].tolist()
            assert low[row, group].item() == min(values)
            assert high[row, group].item() == max(values)


def test_importance_is_ignored() -> None:
    blocks = gaussian(2, 32).view(2, 2, 16)
    storage = ScaleStorage(torch.float32)
    low, high = MinMax().bounds(blocks, SCHEME, storage, torch.zeros(1, 2, 16))
    assert (low, high) != (None, None)
    assert torch.equal(torch.stack([low, high]), torch.stack(blocks.aminmax(dim=-1)))
