"""A quantized tensor means ``grid.decode`` of every block, whatever its granularity."""

import pytest
import torch

from every_scheme import SAMPLE, gaussian, label
from tersor.grids import QuantizedTensor, ScaleFormat, StoredScale, TensorScheme, kmeans
from tersor.grids.scheme import Granularity
from tersor.ranges import MinMax
from tersor.rounding import nearest

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def quantized(scheme: TensorScheme, rows: int = 5, columns: int = 72) -> QuantizedTensor:
    weight = gaussian(rows, columns)
    return nearest(weight, scheme, MinMax(), scale_dtype=torch.bfloat16).tensor


def decoded_one_by_one(tensor: QuantizedTensor) -> torch.Tensor:
    """The definition, value by value."""
    rows, columns = tensor.shape
    scale = tensor.scale.value()
    values = torch.empty(rows, columns)
    for r in range(rows):
        for c in range(columns):
            row = 0 if tensor.scheme.granularity is Granularity.TENSOR else r
            group = c // (tensor.scheme.group_size or columns)
            zero = None if tensor.zero_point is None else tensor.zero_point[row, group]
            values[r, c] = tensor.grid.decode(tensor.codes[r, c], scale[row, group], zero)
    return values


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_dequantize_against_the_definition(scheme: TensorScheme) -> None:
    tensor = quantized(scheme, rows=3)
    expected = decoded_one_by_one(tensor)
    for dtype in DTYPES:
        found = tensor.dequantize(dtype)
        assert found.dtype == dtype
        assert torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("scheme", SAMPLE, ids=label)
def test_rows_are_quantized_tensors_of_their_own(scheme: TensorScheme) -> None:
    tensor = quantized(scheme)
    part = tensor.rows(1, 4)
    assert part.shape == (3, 72)
    assert torch.equal(part.dequantize(), tensor.dequantize()[1:4])
    assert part.codes.data_ptr() == tensor.codes[1:4].data_ptr()


def test_many_rows_are_decoded_in_pieces_like_few() -> None:
    scheme = TensorScheme(kmeans(4), Granularity.GROUP, 64)
    tensor = quantized(scheme, rows=3000, columns=200)
    halves = [tensor.rows(0, 1501).dequantize(), tensor.rows(1501, 3000).dequantize()]
    assert torch.equal(tensor.dequantize(), torch.cat(halves))


def test_a_fitted_codebook_travels_with_the_tensor() -> None:
    scheme = TensorScheme(kmeans(2), Granularity.CHANNEL)
    codes = torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8)
    scale = StoredScale(torch.tensor([[2.0]]), ScaleFormat.FLOAT)
    levels = torch.tensor([-1.0, 0.0, 0.25, 0.75])
    tensor = QuantizedTensor(codes, scale, None, scheme, levels)
    assert tensor.dequantize().tolist() == [[-2.0, 0.0, 0.5, 1.5]]
    assert not scheme.grid.levels
