"""Layouts: what is stored, described without storing it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from every_scheme import (
    FLOATS,
    FP8_TOKEN,
    INT8_TOKEN,
    MXFP4,
    NVFP4,
    STATIC_ASYMMETRIC,
    granularities,
)
from tersor.errors import SchemeError
from tersor.formats.kinds import compressed_tensors
from tersor.formats.kinds.own import FORMAT
from tersor.formats.storage import codec, known
from tersor.formats.storage.kind import Storage
from tersor.formats.storage.known import storage_for
from tersor.grids import (
    BaseGrid,
    Granularity,
    IntegerGrid,
    Scheme,
    Symmetry,
    TensorScheme,
    kmeans,
    nf4,
)

INT8 = TensorScheme(IntegerGrid(8), Granularity.CHANNEL)
INT4 = TensorScheme(IntegerGrid(4), Granularity.GROUP, 32)
FP8 = TensorScheme(FLOATS[0], Granularity.CHANNEL)


def layout(
    scheme: Scheme, shape: tuple[int, int], dtype: torch.dtype
) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor."""
    entries = codec.layout(scheme, shape, dtype)
    return {suffix: (entry.dtype, entry.shape) for suffix, entry in entries.items()}


@pytest.mark.parametrize(
    ("scheme", "storage"),
    [
        (Scheme(INT8, INT8_TOKEN), known.INT8),
        (Scheme(INT8), known.PACKED),
        (Scheme(INT4, INT8_TOKEN), known.PACKED),
        (Scheme(FP8, FP8_TOKEN), known.FP8),
        (Scheme(FP8), known.FP8_WEIGHT_ONLY),
        (Scheme(MXFP4), known.MXFP4),
        (Scheme(NVFP4), known.NVFP4),
        (Scheme(TensorScheme(nf4(), Granularity.GROUP, 64)), known.PACKED),
    ],
    ids=str,
)
def test_storage(scheme: Scheme, storage: Storage) -> None:
    assert storage_for(scheme) is storage


def test_packed_four_bits_as_the_format_says() -> None:
    scheme = Scheme(TensorScheme(IntegerGrid(4, Symmetry.NONE), Granularity.GROUP, 32))
    assert layout(scheme, (20, 96), torch.bfloat16) == {
        "weight_packed": (torch.int32, (20, 12)),
        "weight_shape": (torch.int64, (2,)),
        "weight_scale": (torch.bfloat16, (20, 3)),
        # Packed along the output dimension: 20 zero points of 4 bits are 3 words.
        "weight_zero_point": (torch.int32, (3, 3)),
    }


def test_eight_bits_with_static_activations() -> None:
    assert layout(Scheme(INT8, STATIC_ASYMMETRIC), (6, 10), torch.float16) == {
        "weight": (torch.int8, (6, 10)),
        "weight_scale": (torch.float16, (6, 1)),
        "input_scale": (torch.float16, (1,)),
        "input_zero_point": (torch.int8, (1,)),
    }


def test_block_formats() -> None:
    assert layout(Scheme(MXFP4), (4, 64), torch.bfloat16) == {
        "weight_packed": (torch.uint8, (4, 32)),
        "weight_scale": (torch.uint8, (4, 2)),
    }
    assert layout(Scheme(NVFP4), (4, 64), torch.bfloat16) == {
        "weight_packed": (torch.uint8, (4, 32)),
        "weight_scale": (torch.float8_e4m3fn, (4, 4)),
        "weight_global_scale": (torch.float32, (1,)),
    }


def test_only_an_odd_number_of_fp4_columns_needs_its_shape() -> None:
    assert "weight_shape" in layout(Scheme(MXFP4), (4, 33), torch.bfloat16)
    assert "weight_shape" not in layout(Scheme(MXFP4), (4, 34), torch.bfloat16)


def test_fitted_levels_are_stored() -> None:
    scheme = Scheme(TensorScheme(kmeans(3), Granularity.CHANNEL))
    assert layout(scheme, (4, 64), torch.bfloat16)["weight_codebook"] == (torch.float32, (8,))


def test_scale_shapes() -> None:
    shapes = [
        layout(Scheme(weights), (6, 80), torch.bfloat16)["weight_scale"][1]
        for weights in granularities(IntegerGrid(4))
    ]
    assert shapes == [(1,), (6, 1), (6, 3)]


@dataclass(frozen=True)
class Wide(BaseGrid):
    """Codes that no storage has."""

    bits = 16
    name = "wide"
    code_dtype = torch.int32
    levels = ()

    def scale_for(self, low: Tensor, high: Tensor) -> Tensor:
        raise NotImplementedError

    span = encode = decode = scale_for  # type: ignore[assignment]


def test_what_nothing_stores_is_refused_by_a_sentence() -> None:
    scheme = Scheme(TensorScheme(Wide(), Granularity.CHANNEL))
    reason = "codes of 16 bits and type torch.int32, scales float"
    with pytest.raises(SchemeError, match=f"no way of storing W16A16: wide per channel .*{reason}"):
        storage_for(scheme)
    assert reason in (FORMAT.obstacle(scheme, (4, 64)) or "")
    assert "no grid wide" in (compressed_tensors.FORMAT.obstacle(scheme, (4, 64)) or "")
