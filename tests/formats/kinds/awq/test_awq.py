"""AWQ's tensors against a reading bit by bit."""

import pytest
import torch
from torch import Tensor

from tersor.errors import FormatError
from tersor.formats import QuantizedLinear
from tersor.formats.kinds.awq import FORMAT
from tersor.grids import Granularity, IntegerGrid, Scheme, Symmetry, TensorScheme
from tersor.ranges import MinMax
from tersor.rounding import nearest

ROWS, COLUMNS, SIZE = 24, 96, 32
# The row of eight that each nibble holds.
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def linear(symmetry: Symmetry, signed: bool = True) -> QuantizedLinear:
    grid = IntegerGrid(4, symmetry, signed)
    of = Scheme(TensorScheme(grid, Granularity.GROUP, SIZE))
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    made = nearest(weight, of.weights, MinMax(), scale_dtype=torch.float16).tensor
    return QuantizedLinear(made, of)


def nibble(words: Tensor, line: int, row: int) -> int:
    word = int(words[line, row // 8]) & 0xFFFFFFFF
    return word >> 4 * ORDER.index(row % 8) & 15


@pytest.mark.parametrize("symmetry", [Symmetry.FULL, Symmetry.NONE])
@pytest.mark.parametrize("signed", [True, False])
def test_what_is_written_is_read(symmetry: Symmetry, signed: bool) -> None:
    made = linear(symmetry, signed)
    assert FORMAT.obstacle(made.scheme, made.weight.shape) is None
    tensors, exact = FORMAT.encode(made), made.weight.dequantize()
    for row, column in ((0, 0), (1, 40), (23, 95), (14, 33)):
        q = nibble(tensors["qweight"], column, row)
        z = nibble(tensors["qzeros"], column // SIZE, row)
        assert float(tensors["scales"][column // SIZE, row].float() * (q - z)) == exact[row, column]
    of = FORMAT.described({"bits": 4, "group_size": SIZE, "version": "gemm"}, ["proj"])
    found = FORMAT.linear(tensors, of.schemes["proj"], "proj")
    assert torch.equal(found.weight.dequantize(), exact)


def test_what_is_refused() -> None:
    made = linear(Symmetry.FULL)
    assert "fill whole words" in (FORMAT.obstacle(made.scheme, (20, COLUMNS)) or "")
    assert "no shorter group" in (FORMAT.obstacle(made.scheme, (ROWS, 90)) or "")
    for settings, said in (
        ({"bits": 3, "group_size": 128}, "AWQ has 4 bits in groups"),
        ({"bits": 4, "group_size": -1}, "AWQ has 4 bits in groups"),
        ({"bits": 4, "group_size": 64, "version": "gemv"}, "'gemv'; tersor reads gemm"),
    ):
        with pytest.raises(FormatError, match=said):
            FORMAT.described(settings, ["proj"])
    tensors = FORMAT.encode(made)
    wrong = {**tensors, "qzeros": tensors["qzeros"][:2]}
    with pytest.raises(FormatError, match=r"proj\.qzeros is .* needs torch.int32 \(3, 3\)"):
        FORMAT.linear(wrong, made.scheme, "proj")
