"""Layouts: what is stored, described without storing it."""

import pytest
import torch

from every_scheme import (
    FLOATS,
    FP8_TOKEN,
    INT8_TOKEN,
    MXFP4,
    NVFP4,
    STATIC_ASYMMETRIC,
    granularities,
)
from tersor.formats import Entry, Storage, layout, storage_for
from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry, TensorScheme, kmeans, nf4

INT8 = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
INT4 = TensorScheme(IntegerGrid(4), Granularity.GROUP, 32)
FP8 = TensorScheme(FLOATS[0], Granularity.CHANNEL)


@pytest.mark.parametrize(
    ("scheme", "storage"),
    [
        (Scheme(INT8, INT8_TOKEN), Storage.INT8),
        (Scheme(INT8), Storage.PACKED),
        (Scheme(INT4, INT8_TOKEN), Storage.PACKED),
        (Scheme(FP8, FP8_TOKEN), Storage.FP8),
        (Scheme(FP8), Storage.FP8_WEIGHT_ONLY),
        (Scheme(MXFP4), Storage.MXFP4),
        (Scheme(NVFP4), Storage.NVFP4),
        (Scheme(TensorScheme(nf4(), Granularity.GROUP, 64)), Storage.PACKED),
    ],
    ids=str,
)
def test_storage(scheme: Scheme, storage: Storage) -> None:
    assert storage_for(scheme) is storage


def test_packed_four_bits_as_the_format_says() -> None:
    scheme = Scheme(TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.GROUP, 32))
    assert layout(scheme, (20, 96), torch.bfloat16) == {
        "weight_packed": Entry(torch.int32, (20, 12)),
        "weight_shape": Entry(torch.int64, (2,)),
        "weight_scale": Entry(torch.bfloat16, (20, 3)),
        # Packed along the output dimension: 20 zero points of 4 bits are 3 words.
        "weight_zero_point": Entry(torch.int32, (3, 3)),
    }


def test_eight_bits_with_static_activations() -> None:
    assert layout(Scheme(INT8, STATIC_ASYMMETRIC), (6, 10), torch.float16) == {
        "weight": Entry(torch.int8, (6, 10)),
        "weight_scale": Entry(torch.float16, (6, 1)),
        "input_scale": Entry(torch.float16, (1,)),
        "input_zero_point": Entry(torch.int8, (1,)),
    }


def test_block_formats() -> None:
    assert layout(Scheme(MXFP4), (4, 64), torch.bfloat16) == {
        "weight_packed": Entry(torch.uint8, (4, 32)),
        "weight_scale": Entry(torch.uint8, (4, 2)),
    }
    assert layout(Scheme(NVFP4), (4, 64), torch.bfloat16) == {
        "weight_packed": Entry(torch.uint8, (4, 32)),
        "weight_scale": Entry(torch.float8_e4m3fn, (4, 4)),
        "weight_global_scale": Entry(torch.float32, (1,)),
    }


def test_only_an_odd_number_of_fp4_columns_needs_its_shape() -> None:
    assert "weight_shape" in layout(Scheme(MXFP4), (4, 33), torch.bfloat16)
    assert "weight_shape" not in layout(Scheme(MXFP4), (4, 34), torch.bfloat16)


def test_fitted_levels_are_stored() -> None:
    scheme = Scheme(TensorScheme(kmeans(3), Granularity.CHANNEL))
    assert layout(scheme, (4, 64), torch.bfloat16)["weight_codebook"] == Entry(torch.float32, (8,))


def test_scale_shapes() -> None:
    shapes = [
        layout(Scheme(weights), (6, 80), torch.bfloat16)["weight_scale"].shape
        for weights in granularities(IntegerGrid(4))
    ]
    assert shapes == [(1,), (6, 1), (6, 3)]
