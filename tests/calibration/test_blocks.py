"""How a block is called for some of the windows."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tersor.calibration.blocks import BlockCall, cut


class Shifted(nn.Module):
    """A linear with one offset per window; tells what it was called with."""

    def __init__(self, as_tuple: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.as_tuple = as_tuple
        self.seen: list[tuple[int, ...]] = []

    def forward(self, hidden: Tensor, offset: Tensor, *, scale: Tensor) -> Any:
        self.seen.append(tuple(offset.shape))
        output = self.linear(hidden) * scale + offset
        return (output, None) if self.as_tuple else output


def call_of(block: nn.Module, rows: int, dtype: torch.dtype = torch.float32) -> BlockCall:
    offset = torch.arange(rows, dtype=torch.float32).view(rows, 1, 1)
    return BlockCall(0, block, (offset,), {"scale": torch.ones(1, 1, 6)}, rows, dtype)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_windows_go_through_in_pieces_with_a_ragged_last_one(as_tuple: bool) -> None:
    block = Shifted(as_tuple)
    call, hidden = call_of(block, rows=3), torch.randn(8, 5, 6)
    assert list(call.pieces(hidden)) == [slice(0, 3), slice(3, 6), slice(6, 8)]
    into = torch.empty(8, 5, 6)
    assert call.run(hidden, into) is into
    assert sorted(block.seen) == [(2, 1, 1), (3, 1, 1), (3, 1, 1)]
    with torch.no_grad():
        offset = torch.tensor([0.0, 1, 2, 0, 1, 2, 0, 1]).view(8, 1, 1)
        torch.testing.assert_close(into, block.linear(hidden) + offset)


def test_output_may_replace_the_input() -> None:
    call, hidden = call_of(Shifted(), rows=2), torch.randn(5, 4, 6)
    apart = call.run(hidden, torch.empty_like(hidden))
    assert torch.equal(call.run(hidden, hidden), apart)


def test_products_in_bfloat16_and_the_stream_in_float32() -> None:
    block = Shifted()
    hidden = torch.randn(2, 4, 6)
    dtypes: list[torch.dtype] = []
    block.linear.register_forward_hook(lambda _, args, output: dtypes.append(output.dtype))
    exact = call_of(block, 2).run(hidden, torch.empty_like(hidden))
    rounded = call_of(block, 2, torch.bfloat16).run(hidden, torch.empty_like(hidden))
    assert dtypes == [torch.float32, torch.bfloat16]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)
    assert not torch.equal(rounded, exact)


def test_only_what_has_a_batch_axis_is_cut() -> None:
    mask, positions, anybatch = torch.zeros(4, 1, 4, 4), torch.arange(4), torch.zeros(1, 4, 2)
    kwargs = {"mask": mask, "positions": positions, "rope": (anybatch, [mask]), "cache": None}
    found = cut({"nested": kwargs}, 4, slice(1, 3))["nested"]
    assert found["mask"].shape == (2, 1, 4, 4)
    assert found["mask"].data_ptr() == mask[1].data_ptr()
    assert found["positions"] is positions
    assert found["rope"][0] is anybatch
    assert found["rope"][1][0].shape == (2, 1, 4, 4)
    assert found["cache"] is None
