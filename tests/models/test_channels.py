"""Index selectors against the naive way: number the channels, then do what the model does."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tersor.families.blocks import Rows
from tersor.models.channels import ShapeMismatch, channels

sizes = st.integers(1, 5)


def repeated_heads(v: torch.Tensor, width: int, repeat: int) -> torch.Tensor:
    """What attention's input to the output projection is made of: (kv·width,) → (heads·width,)."""
    return v.view(-1, width).repeat_interleave(repeat, dim=0).flatten()


def assert_carries(
    produced: torch.Tensor, consumed: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> None:
    """Every column of the consumer reads the row that the pair says, and each exactly once."""
    assert torch.equal(produced[rows].unsqueeze(1).expand(columns.shape), consumed[columns])
    assert columns.flatten().sort().values.tolist() == list(range(len(consumed)))


@given(sizes, sizes, sizes)
def test_v(kv_heads: int, repeat: int, width: int) -> None:
    produced = torch.arange(kv_heads * width)
    consumed = repeated_heads(produced, width, repeat)
    selected = channels(Rows.V, len(produced), len(consumed), kv_heads * repeat)
    assert_carries(produced, consumed, *selected)


@given(sizes, sizes, sizes)
def test_v_of_qkv(kv_heads: int, repeat: int, width: int) -> None:
    heads = kv_heads * repeat
    produced = torch.arange((heads + 2 * kv_heads) * width)
    _, _, v = produced.split([heads * width, kv_heads * width, kv_heads * width])
    consumed = repeated_heads(v, width, repeat)
    selected = channels(Rows.V_OF_QKV, len(produced), len(consumed), heads)
    assert_carries(produced, consumed, *selected)


@given(sizes, sizes)
def test_v_of_each_head(heads: int, width: int) -> None:
    produced = torch.arange(heads * 3 * width)
    per_head = [head.split(width)[2] for head in produced.split(3 * width)]
    consumed = torch.cat(per_head)
    selected = channels(Rows.V_OF_EACH_HEAD, len(produced), len(consumed), heads)
    assert_carries(produced, consumed, *selected)


@given(sizes)
def test_up_of_gate_up_and_all(size: int) -> None:
    produced = torch.arange(2 * size)
    assert_carries(produced, produced[size:], *channels(Rows.UP_OF_GATE_UP, 2 * size, size, 0))
    assert_carries(produced, produced, *channels(Rows.ALL, 2 * size, 2 * size, 0))


@pytest.mark.parametrize(
    ("rows", "outputs", "inputs", "heads"),
    [
        (Rows.ALL, 8, 9, 1),
        (Rows.UP_OF_GATE_UP, 8, 8, 1),
        (Rows.V, 8, 9, 2),  # the heads do not divide the width
        (Rows.V, 7, 8, 2),  # a fraction of a value head
        (Rows.V, 6, 8, 4),  # 3 value heads for 4 query heads
        (Rows.V, 16, 8, 2),  # more value heads than query heads
        (Rows.V, 8, 8, 0),  # no heads in the config
        (Rows.V_OF_QKV, 8, 8, 2),
        (Rows.V_OF_QKV, 15, 8, 2),
        (Rows.V_OF_EACH_HEAD, 8, 8, 2),
    ],
)
def test_sizes_that_cannot_belong_together(
    rows: Rows, outputs: int, inputs: int, heads: int
) -> None:
    with pytest.raises(ShapeMismatch):
        channels(rows, outputs, inputs, heads)
