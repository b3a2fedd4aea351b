"""Schemes: combinations that make no sense are refused, and a scheme says what it is."""

import pytest

from tersor.errors import SchemeError
from tersor.grids import (
    ActivationScheme,
    FloatGrid,
    Granularity,
    IntegerGrid,
    ScaleFormat,
    Scheme,
    Symmetry,
    TensorScheme,
    fp4,
    nf4,
)

CHANNEL = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
TOKEN = TensorScheme(IntegerGrid(8), Granularity.TOKEN)


@pytest.mark.parametrize(
    ("granularity", "group_size", "message"),
    [
        (Granularity.GROUP, None, "group_size belongs to granularity 'group'"),
        (Granularity.CHANNEL, 64, "group_size belongs to granularity 'group'"),
        (Granularity.TENSOR, 64, "group_size belongs to granularity 'group'"),
        (Granularity.GROUP, 1, "group_size 1 makes no sense"),
        (Granularity.GROUP, 0, "group_size 0 makes no sense"),
        (Granularity.GROUP, -1, "group_size -1 makes no sense"),
    ],
)
def test_group_size(granularity: Granularity, group_size: int | None, message: str) -> None:
    with pytest.raises(SchemeError, match=message):
        TensorScheme(IntegerGrid(4), granularity, group_size)


@pytest.mark.parametrize("scale_format", [ScaleFormat.E8M0, ScaleFormat.E4M3])
def test_block_scales_belong_to_fp4(scale_format: ScaleFormat) -> None:
    TensorScheme(fp4(), Granularity.GROUP, 32, scale_format)
    for grid in (IntegerGrid(4), nf4(), FloatGrid("fp8_e4m3")):
        with pytest.raises(SchemeError, match=f"belongs to grid fp4, not {grid.name}"):
            TensorScheme(grid, Granularity.GROUP, 32, scale_format)


def test_activations() -> None:
    ActivationScheme(TensorScheme(IntegerGrid(8), Granularity.TENSOR), dynamic=False)
    with pytest.raises(SchemeError, match="per token is dynamic"):
        ActivationScheme(TOKEN, dynamic=False)
    with pytest.raises(SchemeError, match="not channel"):
        ActivationScheme(CHANNEL, dynamic=True)


def test_weights_have_no_tokens() -> None:
    with pytest.raises(SchemeError, match="weights have no tokens"):
        Scheme(TOKEN)


@pytest.mark.parametrize(
    ("columns", "groups", "ragged"), [(64, 1, False), (65, 2, True), (1, 1, True), (128, 2, False)]
)
def test_groups(columns: int, groups: int, ragged: bool) -> None:
    scheme = TensorScheme(IntegerGrid(4), Granularity.GROUP, 64)
    assert scheme.groups(columns) == groups
    assert scheme.ragged(columns) is ragged
    assert CHANNEL.groups(columns) == 1
    assert not CHANNEL.ragged(columns)


def test_names() -> None:
    asymmetric = TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.GROUP, 64)
    assert str(asymmetric) == "int4 asymmetric per group 64"
    assert str(Scheme(asymmetric)) == "W4A16: int4 asymmetric per group 64"
    both = Scheme(CHANNEL, ActivationScheme(TOKEN, dynamic=True))
    assert str(both) == "W8A8: int8 per channel, activations int8 per token dynamic"
    assert both.name == "W8A8"


def test_equal_schemes_are_one_key() -> None:
    twins = {Scheme(TensorScheme(nf4(), Granularity.GROUP, 64)) for _ in range(2)}
    assert len(twins) == 1
