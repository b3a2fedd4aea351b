"""Which rows of a producer feed which columns of a consumer: index mathematics only."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from tersor.families.blocks import Rows


def channels(rows: Rows, outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    """Indices of the channels that a producer hands to a consumer.

    ``outputs`` are the producer's, ``inputs`` the consumer's, ``heads`` the query heads. Channel
    ``c`` leaves at row ``rows[c]`` ``(channels,)`` and is read at ``columns[c]``
    ``(channels, repeat)``, both int64; every column occurs once. Raises ``ShapeMismatch`` where
    the sizes cannot belong together.
    """
    return _SELECTORS[rows](outputs, inputs, heads)


class ShapeMismatch(Exception):
    """Producer and consumer cannot fit together in the way the table says."""


def _one_to_one(outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    if outputs != inputs:
        raise ShapeMismatch
    channels = torch.arange(inputs)
    return channels, channels.unsqueeze(1)


def _up_of_gate_up(outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    if outputs != 2 * inputs:
        raise ShapeMismatch
    channels = torch.arange(inputs)
    return inputs + channels, channels.unsqueeze(1)


def _v(outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    width = _divide(inputs, heads)
    kv_heads = _divide(outputs, width)
    return torch.arange(outputs), _query_columns(heads, kv_heads, width)


def _v_of_qkv(outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    width = _divide(inputs, heads)
    kv_heads = _divide(outputs - inputs, 2 * width)
    channels = torch.arange(kv_heads * width)
    return outputs - len(channels) + channels, _query_columns(heads, kv_heads, width)


def _v_of_each_head(outputs: int, inputs: int, heads: int) -> tuple[Tensor, Tensor]:
    width = _divide(inputs, heads)
    if outputs != 3 * inputs:
        raise ShapeMismatch
    rows = torch.arange(outputs).view(heads, 3, width)[:, 2].flatten()
    return rows, _query_columns(heads, heads, width)


def _query_columns(heads: int, kv_heads: int, width: int) -> Tensor:
    """Columns of the output projection that read each value channel ``(kv_heads·width, repeat)``.

    Query head ``h`` attends with value head ``h // repeat``.
    """
    repeat = _divide(heads, kv_heads)
    columns = torch.arange(heads * width).view(kv_heads, repeat, width)
    return columns.transpose(1, 2).reshape(kv_heads * width, repeat)


def _divide(whole: int, part: int) -> int:
    if whole <= 0 or part <= 0 or whole % part:
        raise ShapeMismatch
    return whole // part


_SELECTORS: Mapping[Rows, Callable[[int, int, int], tuple[Tensor, Tensor]]] = MappingProxyType(
    {
        Rows.ALL: _one_to_one,
        Rows.V: _v,
        Rows.V_OF_QKV: _v_of_qkv,
        Rows.V_OF_EACH_HEAD: _v_of_each_head,
        Rows.UP_OF_GATE_UP: _up_of_gate_up,
    }
)
